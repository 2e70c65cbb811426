# Canonical publishes the newest image of each release under a fixed name; 22.04's name still says gp2.
data "aws_ssm_parameter" "ubuntu" {
  name = "/aws/service/canonical/ubuntu/server/${var.ubuntu_version}/stable/current/amd64/hvm/${var.ubuntu_version == "22.04" ? "ebs-gp2" : "ebs-gp3"}/ami-id"
}

# What a host reads once, at its first boot: another one of it takes another host.
resource "terraform_data" "first_boot" {
  input = { ubuntu_version = var.ubuntu_version, user_data = sha256(local.user_data) }
}

resource "aws_instance" "server" {
  #checkov:skip=CKV_AWS_88:The API is served from here; a load balancer would cost more than all the rest, and the security group admits only allowed_cidrs
  #checkov:skip=CKV_AWS_126:Detailed monitoring is billed by metric
  #checkov:skip=CKV_AWS_135:t3 is always EBS-optimised, t2 cannot be
  ami                    = nonsensitive(data.aws_ssm_parameter.ubuntu.value)
  instance_type          = var.instance_type
  subnet_id              = aws_subnet.public.id
  vpc_security_group_ids = [aws_security_group.scheduler.id]
  iam_instance_profile   = aws_iam_instance_profile.server.name

  associate_public_ip_address          = true
  instance_initiated_shutdown_behavior = "stop"

  user_data_base64            = base64gzip(local.user_data)
  user_data_replace_on_change = true

  # t3 is "unlimited" unless told otherwise, and then bills what it bursts.
  credit_specification {
    cpu_credits = "standard"
  }

  # Answers of the metadata service end after one hop: processes of the host get them, containers do not.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
    instance_metadata_tags      = "disabled"
  }

  root_block_device {
    volume_type           = "gp3"
    volume_size           = var.root_volume_gib
    encrypted             = true
    delete_on_termination = true
    tags                  = merge(local.tags, { Name = "${var.name}-server" })
  }

  tags = { Name = "${var.name}-server" }

  lifecycle {
    # Or each of Canonical's releases would replace the host with the next apply. Ubuntu updates itself.
    ignore_changes = [ami]
    # user_data_replace_on_change alone does not see a change whose text is unknown while the plan is made (the
    # address of a cache that is made with it), and changes the user data of a host that reads it no more.
    replace_triggered_by = [terraform_data.first_boot]

    precondition {
      # EC2's limit is 16 KiB before base64.
      condition     = length(base64gzip(local.user_data)) * 3 / 4 <= 16384
      error_message = "The compressed user data is larger than the 16 KiB that EC2 takes; make var.settings smaller."
    }
  }

  # The role must be able to read the secret when the host boots.
  depends_on = [aws_iam_role_policy.server, aws_iam_role_policy_attachment.session_manager, aws_route_table_association.public]
}

resource "aws_eip" "server" {
  count = var.fixed_address ? 1 : 0

  instance = aws_instance.server.id
  domain   = "vpc"

  tags = { Name = "${var.name}-server" }
}

# --- what the host may do

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "server" {
  name               = "${var.name}-server"
  description        = "The scheduler's host: read its secrets, pull its image, be reached by Session Manager"
  assume_role_policy = data.aws_iam_policy_document.assume.json
}

locals {
  secret_arns = compact([aws_db_instance.main.master_user_secret[0].secret_arn, var.redis_token_secret_arn])
}

data "aws_iam_policy_document" "server" {
  statement {
    sid       = "ReadSecrets"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = local.secret_arns
  }

  statement {
    sid       = "PullImage"
    actions   = ["ecr:BatchGetImage", "ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer"]
    resources = [aws_ecr_repository.main.arn]
  }

  # The service knows no resource for it: the token alone opens nothing that the statement above does not.
  statement {
    sid       = "LogInToRegistry"
    actions   = ["ecr:GetAuthorizationToken"]
    resources = ["*"]
  }

  # The policy for Session Manager, below, would let the host read every parameter of the account.
  statement {
    sid       = "NoParameters"
    effect    = "Deny"
    actions   = ["ssm:GetParameter", "ssm:GetParameters"]
    resources = ["*"]
  }
}

resource "aws_iam_role_policy" "server" {
  name   = "${var.name}-server"
  role   = aws_iam_role.server.id
  policy = data.aws_iam_policy_document.server.json
}

resource "aws_iam_role_policy_attachment" "session_manager" {
  role       = aws_iam_role.server.name
  policy_arn = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
}

resource "aws_iam_instance_profile" "server" {
  name = "${var.name}-server"
  role = aws_iam_role.server.name
}
