# Answers of AWS, as far as the configuration reads them.

mock_data "aws_availability_zones" {
  defaults = {
    names = ["us-east-1a", "us-east-1b", "us-east-1e"]
  }
}

mock_data "aws_ec2_instance_type_offerings" {
  defaults = {
    locations = ["us-east-1b"]
  }
}

mock_data "aws_ssm_parameter" {
  defaults = {
    value = "ami-0123456789abcdef0"
  }
}

mock_data "aws_caller_identity" {
  defaults = {
    account_id = "123456789012"
  }
}

mock_data "aws_iam_policy_document" {
  defaults = {
    json = "{\"Version\":\"2012-10-17\",\"Statement\":[]}"
  }
}

mock_resource "aws_db_instance" {
  defaults = {
    address            = "scheduler-db.example.us-east-1.rds.amazonaws.com"
    master_user_secret = [{ secret_arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:rds!db-1234", secret_status = "active", kms_key_id = "aws/secretsmanager" }]
  }
}

mock_resource "aws_ecr_repository" {
  defaults = {
    arn            = "arn:aws:ecr:us-east-1:123456789012:repository/scheduler"
    repository_url = "123456789012.dkr.ecr.us-east-1.amazonaws.com/scheduler"
  }
}

mock_resource "aws_elasticache_replication_group" {
  defaults = {
    primary_endpoint_address = "master.scheduler-redis.example.use1.cache.amazonaws.com"
  }
}

mock_resource "aws_security_group" {
  defaults = {
    id = "sg-0123456789abcdef0"
  }
}

mock_resource "aws_instance" {
  defaults = {
    public_ip = "198.51.100.7"
  }
}

mock_resource "aws_eip" {
  defaults = {
    public_ip = "198.51.100.8"
  }
}
