# Canonical publishes the newest image of each release under a fixed name. The name for 22.04 still contains gp2.
data "aws_ssm_parameter" "ubuntu" {
  name = "/aws/service/canonical/ubuntu/server/${var.ubuntu_version}/stable/current/amd64/hvm/${var.ubuntu_version == "22.04" ? "ebs-gp2" : "ebs-gp3"}/ami-id"
}

# The host reads these values only once, at its first boot. If they change, the host has to be replaced.
resource "terraform_data" "first_boot" {
  input = { ubuntu_version = var.ubuntu_version, user_data = sha256(local.user_data) }
}

resource "aws_instance" "server" {
  #checkov:skip=CKV_AWS_88:The host serves the API; a load balancer would cost more than everything else, and the security group admits only allowed_cidrs
  #checkov:skip=CKV_AWS_126:Detailed monitoring is billed by metric
  #checkov:skip=CKV_AWS_135:t3 is always EBS-optimised, and t2 cannot be
  ami                    = nonsensitive(data.aws_ssm_parameter.ubuntu.value)
  instance_type          = var.instance_type
  subnet_id              = aws_subnet.public.id
  vpc_security_group_ids = [aws_security_group.scheduler.id]
  iam_instance_profile   = aws_iam_instance_profile.server.name

  associate_public_ip_address          = true
  instance_initiated_shutdown_behavior = "stop"

  user_data_base64            = base64gzip(local.user_data)
  user_data_replace_on_change = true

  # The default of t3 is "unlimited", which bills bursts.
  credit_specification {
    cpu_credits = "standard"
  }

  # Answers of the metadata service travel only one hop, so they reach processes of the host but not containers.
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
    # Otherwise each new image of Canonical would replace the host with the next apply. Ubuntu updates itself.
    ignore_changes = [ami]
    # user_data_replace_on_change does not work if the new text is unknown during the plan, for example because it
    # contains the address of a cache that does not exist yet. The provider would then update the user data of a host
    # that no longer reads it.
    replace_triggered_by = [terraform_data.first_boot]

    precondition {
      # EC2's limit is 16 KiB before base64.
      condition     = length(base64gzip(local.user_data)) * 3 / 4 <= 16384
      error_message = "The compressed user data is larger than the 16 KiB that EC2 accepts. Make var.settings smaller."
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

# --- rights of the host

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

data "aws_caller_identity" "current" {}

locals {
  needs_keys = var.auth_mode == "keys"
  # The host makes the first parameter, so that Terraform never sees its value. You make the second one for a rotation.
  first_secret     = local.needs_keys ? "/${var.name}/admin-secret" : null
  first_secret_arn = local.needs_keys ? "arn:aws:ssm:${var.region}:${data.aws_caller_identity.current.account_id}:parameter${local.first_secret}" : null
  next_secret_arn  = local.needs_keys ? "${local.first_secret_arn}-next" : null

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

  # This action does not support resources. The token alone gives no access beyond the statement above.
  statement {
    sid       = "LogInToRegistry"
    actions   = ["ecr:GetAuthorizationToken"]
    resources = ["*"]
  }

  # The parameter is encrypted with the key that AWS manages for parameters. It needs no statement of its own.
  dynamic "statement" {
    for_each = compact([local.first_secret_arn])

    content {
      sid       = "KeepFirstSecret"
      actions   = ["ssm:GetParameter", "ssm:PutParameter"]
      resources = [statement.value]
    }
  }

  dynamic "statement" {
    for_each = compact([local.next_secret_arn])

    content {
      sid       = "ReadNextSecret"
      actions   = ["ssm:GetParameter"]
      resources = [statement.value]
    }
  }

  # The policy for Session Manager, below, would allow the host to read every parameter of the account.
  statement {
    sid           = "NoOtherParameters"
    effect        = "Deny"
    actions       = ["ssm:GetParameter", "ssm:GetParameters"]
    resources     = local.needs_keys ? null : ["*"]
    not_resources = compact([local.first_secret_arn, local.next_secret_arn])
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
