# Checks every claim of docs/aws.md about security and costs, for the default variant.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  allowed_cidrs = ["203.0.113.7/32"]
}

run "the_host_is_small_and_bills_no_bursts" {
  assert {
    condition     = aws_instance.server.instance_type == "t3.micro"
    error_message = "t3.micro is the type that every account accepts"
  }
  assert {
    condition     = one(aws_instance.server.credit_specification).cpu_credits == "standard"
    error_message = "unlimited credits are billed"
  }
  assert {
    condition     = aws_instance.server.tags["Name"] == "scheduler-server"
    error_message = "the host is named scheduler-server"
  }
  assert {
    condition     = one(aws_instance.server.root_block_device).volume_size <= 30
    error_message = "the free tier of EBS ends at 30 GiB"
  }
  assert {
    condition     = length(aws_eip.server) == 0
    error_message = "there is no fixed address by default"
  }
  assert {
    condition     = coalesce(aws_instance.server.monitoring, false) == false
    error_message = "detailed monitoring is billed"
  }
}

run "the_metadata_service_answers_the_host_alone" {
  assert {
    condition     = one(aws_instance.server.metadata_options).http_tokens == "required"
    error_message = "the metadata service accepts only version 2"
  }
  assert {
    condition     = one(aws_instance.server.metadata_options).http_put_response_hop_limit == 1
    error_message = "a second hop would let containers take the role of the host"
  }
  assert {
    condition     = one(aws_instance.server.metadata_options).instance_metadata_tags == "disabled"
    error_message = "the metadata service must not publish tags"
  }
}

run "disks_are_encrypted" {
  assert {
    condition     = one(aws_instance.server.root_block_device).encrypted && one(aws_instance.server.root_block_device).volume_type == "gp3"
    error_message = "the host's disk is encrypted gp3"
  }
  assert {
    condition     = one(aws_instance.server.root_block_device).delete_on_termination
    error_message = "a disk that outlives its host continues to cause costs"
  }
  assert {
    condition     = aws_db_instance.main.storage_encrypted
    error_message = "the database's storage is encrypted"
  }
}

run "nobody_logs_in_with_a_key" {
  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.ssh) == 0
    error_message = "port 22 is closed unless networks are named"
  }
  assert {
    condition     = endswith(aws_iam_role_policy_attachment.session_manager.policy_arn, ":iam::aws:policy/AmazonSSMManagedInstanceCore")
    error_message = "shells come through Session Manager"
  }
}

run "the_security_group_admits_the_api_and_itself" {
  assert {
    condition     = aws_security_group.scheduler.name == "scheduler-sg"
    error_message = "the group is named scheduler-sg"
  }
  assert {
    condition     = [for rule in aws_vpc_security_group_ingress_rule.api : "${rule.cidr_ipv4} ${rule.from_port}-${rule.to_port}"] == ["203.0.113.7/32 8000-8000"]
    error_message = "the API is open to the allowed networks, on its port"
  }
  assert {
    condition = alltrue([
      for rule in aws_vpc_security_group_ingress_rule.stores :
      rule.referenced_security_group_id == rule.security_group_id && rule.cidr_ipv4 == null && rule.cidr_ipv6 == null && rule.from_port == rule.to_port
    ])
    error_message = "PostgreSQL and Redis are reachable from members of the group only"
  }
  assert {
    condition     = toset([for rule in aws_vpc_security_group_ingress_rule.stores : rule.to_port]) == toset([5432, 6379])
    error_message = "5432 and 6379 refer to the group itself"
  }
  assert {
    condition     = alltrue([for rule in concat(values(aws_vpc_security_group_ingress_rule.api), values(aws_vpc_security_group_ingress_rule.ssh)) : rule.cidr_ipv4 != "0.0.0.0/0"])
    error_message = "nothing is open to the internet"
  }
  assert {
    condition = alltrue([
      for rule in concat(values(aws_vpc_security_group_ingress_rule.api), values(aws_vpc_security_group_ingress_rule.stores), values(aws_vpc_security_group_egress_rule.stores), values(aws_vpc_security_group_egress_rule.internet)) :
      length(rule.description) > 0
    ])
    error_message = "every rule says what it is for"
  }
  assert {
    condition     = toset([for rule in aws_vpc_security_group_egress_rule.internet : rule.to_port]) == toset([80, 443])
    error_message = "the host reaches two ports of the internet"
  }
  assert {
    condition     = length(aws_default_security_group.unused.ingress) == 0 && length(aws_default_security_group.unused.egress) == 0
    error_message = "the VPC's default group admits nothing"
  }
}

run "the_database_is_private_and_of_the_free_size" {
  assert {
    condition     = aws_db_instance.main.identifier == "scheduler-db" && aws_db_instance.main.db_name == "scheduler"
    error_message = "the database scheduler is on scheduler-db"
  }
  assert {
    condition     = aws_db_instance.main.engine == "postgres" && aws_db_instance.main.engine_version == "16"
    error_message = "the database is PostgreSQL 16"
  }
  assert {
    condition     = aws_db_instance.main.instance_class == "db.t3.micro" && aws_db_instance.main.allocated_storage == 20
    error_message = "the database is a db.t3.micro with 20 GB"
  }
  assert {
    condition     = aws_db_instance.main.max_allocated_storage == null || aws_db_instance.main.max_allocated_storage == 0
    error_message = "storage must not grow by itself"
  }
  assert {
    condition     = !aws_db_instance.main.publicly_accessible && !aws_db_instance.main.multi_az
    error_message = "the database is not public and is in one zone"
  }
  assert {
    condition     = aws_db_instance.main.manage_master_user_password && aws_db_instance.main.password == null
    error_message = "RDS generates and keeps the master's password"
  }
  assert {
    condition     = [for parameter in aws_db_parameter_group.main.parameter : parameter.value if parameter.name == "rds.force_ssl"] == ["1"]
    error_message = "connections without TLS are refused"
  }
  assert {
    condition     = length(aws_subnet.private) == 2 && aws_subnet.private[0].availability_zone != aws_subnet.private[1].availability_zone
    error_message = "the subnet group spans two zones"
  }
  assert {
    condition     = aws_db_instance.main.auto_minor_version_upgrade && aws_db_instance.main.copy_tags_to_snapshot && !aws_db_instance.main.apply_immediately
    error_message = "RDS installs patches in the maintenance window and tags snapshots"
  }
  assert {
    condition     = aws_db_instance.main.backup_retention_period == 1
    error_message = "the Free plan limits backups"
  }
}

run "the_host_stands_where_its_type_is_offered" {
  assert {
    condition     = aws_subnet.public.availability_zone == "us-east-1b"
    error_message = "not every zone has every type"
  }
  assert {
    condition     = aws_subnet.private[0].availability_zone == aws_subnet.public.availability_zone
    error_message = "database and cache have a subnet in the zone of the host"
  }
  assert {
    condition     = aws_db_instance.main.availability_zone == aws_subnet.public.availability_zone
    error_message = "traffic between zones is billed"
  }
}

run "destroy_ends_the_costs" {
  assert {
    condition     = aws_db_instance.main.deletion_protection == false && aws_db_instance.main.delete_automated_backups
    error_message = "the database can be deleted, and its backups with it"
  }
  assert {
    condition     = !aws_db_instance.main.skip_final_snapshot && startswith(aws_db_instance.main.final_snapshot_identifier, "scheduler-db-final-2")
    error_message = "the final snapshot has a unique name"
  }
  assert {
    condition     = aws_ecr_repository.main.force_delete
    error_message = "images must not prevent the deletion of the repository"
  }
  assert {
    condition     = one(aws_route_table.public.route).gateway_id == aws_internet_gateway.main.id
    error_message = "a NAT gateway would cost more than everything else"
  }
}

run "the_role_reads_one_secret_and_pulls_one_image" {
  assert {
    condition     = join(" ", flatten([for statement in data.aws_iam_policy_document.server.statement : tolist(statement.resources) if contains(statement.actions, "secretsmanager:GetSecretValue")])) == "arn:aws:secretsmanager:us-east-1:123456789012:secret:rds!db-1234"
    error_message = "the role reads only the secret of this database"
  }
  assert {
    condition     = join(" ", flatten([for statement in data.aws_iam_policy_document.server.statement : tolist(statement.resources) if contains(statement.actions, "ecr:BatchGetImage")])) == "arn:aws:ecr:us-east-1:123456789012:repository/scheduler"
    error_message = "the role pulls only from this repository"
  }
  assert {
    condition     = alltrue([for statement in data.aws_iam_policy_document.server.statement : statement.resources != toset(["*"]) || statement.actions == toset(["ecr:GetAuthorizationToken"]) || statement.effect == "Deny"])
    error_message = "only the log-in to the registry is allowed for all resources"
  }
  assert {
    condition     = alltrue(flatten([for statement in data.aws_iam_policy_document.server.statement : [for action in statement.actions : !strcontains(action, "*")]]))
    error_message = "no action has a wildcard"
  }
  assert {
    condition     = join(" ", flatten([for statement in data.aws_iam_policy_document.server.statement : tolist(statement.not_resources) if statement.effect == "Deny" && statement.actions == toset(["ssm:GetParameter", "ssm:GetParameters"])])) == "arn:aws:ssm:us-east-1:123456789012:parameter/scheduler/admin-secret arn:aws:ssm:us-east-1:123456789012:parameter/scheduler/admin-secret-next"
    error_message = "the role denies the access to parameters that the policy for Session Manager allows, except to its own two"
  }
  assert {
    condition     = join(" ", flatten([for statement in data.aws_iam_policy_document.server.statement : tolist(statement.resources) if statement.effect != "Deny" && contains(statement.actions, "ssm:PutParameter")])) == "arn:aws:ssm:us-east-1:123456789012:parameter/scheduler/admin-secret"
    error_message = "the role writes only its own parameter"
  }
}

run "the_api_asks_for_keys" {
  assert {
    condition     = local.compose.services.api.environment.AUTH == "keys" && local.compose.services.api.environment.CLIENTS_DIR == "/run/secrets/clients" && local.host_settings.firstSecret == "/scheduler/admin-secret"
    error_message = "the API asks for keys, and the host makes the first client"
  }
  assert {
    condition     = output.secret_command == "aws ssm get-parameter --region us-east-1 --name /scheduler/admin-secret --with-decryption --query Parameter.Value --output text"
    error_message = "the output reads the parameter"
  }
  assert {
    condition     = alltrue([for value in values(local.compose.services.api.environment) : length(regexall("[$][{]", tostring(value))) == 0])
    error_message = "the environment of the host decides nothing"
  }
}

run "user_data_holds_addresses_and_no_secret" {
  assert {
    condition     = strcontains(local.user_data, "arn:aws:secretsmanager:us-east-1:123456789012:secret:rds!db-1234")
    error_message = "the user data has the ARN of the secret"
  }
  assert {
    condition     = length(regexall("://[^/@\\s\"{]*:[^/@\\s\"{]+@", local.compose_text)) == 0 && length(regexall("(?i)password['\"]?\\s*[=:]", "${local.compose_text}${jsonencode(local.host_settings)}")) == 0
    error_message = "no password is in the compose file or the settings"
  }
  assert {
    condition     = length(aws_instance.server.user_data_base64) * 3 / 4 <= 16384
    error_message = "EC2 accepts at most 16 KiB"
  }
  assert {
    condition     = aws_instance.server.user_data_replace_on_change
    error_message = "a host that has booted does not read changed user data"
  }
}

run "images_cannot_be_moved_under_a_tag" {
  assert {
    condition     = aws_ecr_repository.main.image_tag_mutability == "IMMUTABLE" && one(aws_ecr_repository.main.image_scanning_configuration).scan_on_push
    error_message = "tags are immutable, images are scanned"
  }
  assert {
    condition     = length(jsondecode(aws_ecr_lifecycle_policy.main.policy).rules) == 1
    error_message = "old images are deleted"
  }
  assert {
    condition     = output.image == "123456789012.dkr.ecr.us-east-1.amazonaws.com/scheduler:v1"
    error_message = "the image comes from the module's repository"
  }
}

run "redis_runs_on_the_host" {
  assert {
    condition     = length(aws_elasticache_replication_group.main) == 0 && length(aws_elasticache_subnet_group.main) == 0 && length(aws_elasticache_parameter_group.main) == 0
    error_message = "there are no ElastiCache resources"
  }
  assert {
    condition     = local.host_settings.redis.url == "redis://redis:6379/0" && output.redis_address == null
    error_message = "the containers find Redis by its service name"
  }
  assert {
    condition     = length(aws_budgets_budget.monthly) == 0
    error_message = "a budget needs an address"
  }
}

run "everything_is_tagged" {
  variables {
    tags = { Owner = "team" }
  }
  assert {
    condition     = jsonencode(local.tags) == jsonencode({ Project = "scheduler", ManagedBy = "terraform", Owner = "team" })
    error_message = "the provider adds these tags to every resource that supports tags"
  }
  assert {
    condition     = one(aws_instance.server.root_block_device).tags["Project"] == "scheduler"
    error_message = "disks do not inherit the provider's tags"
  }
}

run "new_images_and_zones_replace_nothing" {
  override_data {
    target = data.aws_ssm_parameter.ubuntu
    values = { value = "ami-0fedcba9876543210" }
  }
  override_data {
    target = data.aws_ec2_instance_type_offerings.host
    values = { locations = ["us-east-1a", "us-east-1b"] }
  }
  assert {
    condition     = aws_instance.server.id == run.everything_is_tagged.instance_id && aws_instance.server.ami == "ami-0123456789abcdef0"
    error_message = "a newer image of the same Ubuntu applies only to the next host"
  }
  assert {
    condition     = aws_subnet.public.availability_zone == "us-east-1b" && aws_db_instance.main.availability_zone == "us-east-1b"
    error_message = "subnets and database stay where they are"
  }
  assert {
    condition     = output.final_snapshot == run.everything_is_tagged.final_snapshot
    error_message = "the name of the final snapshot stays the same"
  }
}

run "another_ubuntu_is_another_host" {
  variables {
    ubuntu_version = "24.04"
  }
  override_data {
    target = data.aws_ssm_parameter.ubuntu
    values = { value = "ami-0fedcba9876543210" }
  }
  assert {
    condition     = aws_instance.server.id != run.everything_is_tagged.instance_id && aws_instance.server.ami == "ami-0fedcba9876543210"
    error_message = "without a replacement, the host would keep its release of Ubuntu"
  }
}

run "another_tag_is_another_host" {
  variables {
    ubuntu_version = "24.04"
    image_tag      = "v2"
  }
  assert {
    condition     = aws_instance.server.id != run.another_ubuntu_is_another_host.instance_id && endswith(output.image, ":v2")
    error_message = "a host that has booted does not read changed user data"
  }
}

# The address of the cache is unknown during the plan, so the provider alone would change the user data in place.
run "another_place_of_redis_is_another_host" {
  variables {
    ubuntu_version = "24.04"
    image_tag      = "v2"
    redis          = "elasticache"
  }
  assert {
    condition     = aws_instance.server.id != run.another_tag_is_another_host.instance_id
    error_message = "the old host would keep using its own Redis"
  }
}

run "another_class_of_the_database_keeps_the_host" {
  variables {
    ubuntu_version    = "24.04"
    image_tag         = "v2"
    redis             = "elasticache"
    redis_nodes       = 2
    db_instance_class = "db.t4g.micro"
    allowed_cidrs     = ["203.0.113.7/32", "198.51.100.0/24"]
  }
  assert {
    condition     = aws_instance.server.id == run.another_place_of_redis_is_another_host.instance_id
    error_message = "the user data has not changed"
  }
}
