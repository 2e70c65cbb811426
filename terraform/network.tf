# A separate VPC costs nothing and does not depend on the existence of a default VPC.

resource "aws_vpc" "main" {
  #checkov:skip=CKV2_AWS_11:Flow logs are billed by volume; one host with one security group does not need them
  cidr_block           = "10.20.0.0/24"
  enable_dns_support   = true
  enable_dns_hostnames = true

  tags = { Name = var.name }
}

# Nothing uses this group. It has no rules, so resources that get it by mistake are not reachable.
resource "aws_default_security_group" "unused" {
  vpc_id = aws_vpc.main.id

  tags = { Name = "${var.name}-unused" }
}

data "aws_availability_zones" "open" {
  #checkov:skip=CKV_AWS_394:One host can use any zone; the zones are looked up so that every region works
  state = "available"

  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

# Some zones do not offer every type (us-east-1e has no t3).
data "aws_ec2_instance_type_offerings" "host" {
  location_type = "availability-zone"

  filter {
    name   = "instance-type"
    values = [var.instance_type]
  }
}

locals {
  offered = sort(tolist(setintersection(data.aws_availability_zones.open.names, data.aws_ec2_instance_type_offerings.host.locations)))
  others  = [for zone in sort(data.aws_availability_zones.open.names) : zone if zone != local.offered[0]]
  # The host's zone comes first. RDS requires a second zone, although the database uses only one.
  zones = [local.offered[0], local.others[0]]
}

resource "aws_subnet" "public" {
  vpc_id            = aws_vpc.main.id
  availability_zone = local.zones[0]
  cidr_block        = cidrsubnet(aws_vpc.main.cidr_block, 2, 0)

  tags = { Name = "${var.name}-public" }

  lifecycle {
    # The offers of zones change. Existing subnets, and the database in them, have to stay.
    ignore_changes = [availability_zone]
  }
}

resource "aws_subnet" "private" {
  count = 2

  vpc_id            = aws_vpc.main.id
  availability_zone = local.zones[count.index]
  cidr_block        = cidrsubnet(aws_vpc.main.cidr_block, 2, 2 + count.index)

  tags = { Name = "${var.name}-private-${count.index + 1}" }

  lifecycle {
    ignore_changes = [availability_zone]
  }
}

resource "aws_internet_gateway" "main" {
  vpc_id = aws_vpc.main.id

  tags = { Name = var.name }
}

# Only the host's subnet has a route to the internet. There is no NAT gateway, because it would cost more than everything
# else.
resource "aws_route_table" "public" {
  vpc_id = aws_vpc.main.id

  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.main.id
  }

  tags = { Name = "${var.name}-public" }
}

resource "aws_route_table_association" "public" {
  subnet_id      = aws_subnet.public.id
  route_table_id = aws_route_table.public.id
}

# Host, database and cache share one group. Only its members can reach each other's two store ports.
resource "aws_security_group" "scheduler" {
  name        = "${var.name}-sg"
  description = "Scheduler: API for the allowed networks, PostgreSQL and Redis among its members"
  vpc_id      = aws_vpc.main.id

  tags = { Name = "${var.name}-sg" }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "api" {
  for_each = toset(var.allowed_cidrs)

  security_group_id = aws_security_group.scheduler.id
  description       = "API from an allowed network"
  ip_protocol       = "tcp"
  from_port         = local.api_port
  to_port           = local.api_port
  cidr_ipv4         = each.value

  tags = { Name = "${var.name}-api" }
}

resource "aws_vpc_security_group_ingress_rule" "ssh" {
  for_each = toset(var.ssh_cidrs)

  security_group_id = aws_security_group.scheduler.id
  description       = "SSH from an allowed network"
  ip_protocol       = "tcp"
  from_port         = 22
  to_port           = 22
  cidr_ipv4         = each.value

  tags = { Name = "${var.name}-ssh" }
}

locals {
  store_ports = { postgresql = 5432, redis = 6379 }
}

resource "aws_vpc_security_group_ingress_rule" "stores" {
  for_each = local.store_ports

  security_group_id            = aws_security_group.scheduler.id
  description                  = "${each.key} from members of this group"
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
  referenced_security_group_id = aws_security_group.scheduler.id

  tags = { Name = "${var.name}-${each.key}" }
}

resource "aws_vpc_security_group_egress_rule" "stores" {
  for_each = local.store_ports

  security_group_id            = aws_security_group.scheduler.id
  description                  = "${each.key} to members of this group"
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
  referenced_security_group_id = aws_security_group.scheduler.id

  tags = { Name = "${var.name}-${each.key}" }
}

# DNS and time come from the VPC itself, and security groups do not filter them.
resource "aws_vpc_security_group_egress_rule" "internet" {
  for_each = toset([for port in var.egress_ports : tostring(port)])

  security_group_id = aws_security_group.scheduler.id
  description       = "Port ${each.value} of the internet: AWS, packages, images, targets of tasks"
  ip_protocol       = "tcp"
  from_port         = tonumber(each.value)
  to_port           = tonumber(each.value)
  cidr_ipv4         = "0.0.0.0/0"

  tags = { Name = "${var.name}-egress-${each.value}" }
}
