resource "aws_db_subnet_group" "main" {
  name       = "${var.name}-db"
  subnet_ids = aws_subnet.private[*].id
}

resource "aws_db_parameter_group" "main" {
  name        = "${var.name}-postgres16"
  family      = "postgres16"
  description = "PostgreSQL 16 that refuses connections without TLS"

  # This is the default of RDS since PostgreSQL 15. It is set here so that it does not depend on a default.
  parameter {
    name  = "rds.force_ssl"
    value = "1"
  }

  lifecycle {
    create_before_destroy = true
  }
}

# The name of a final snapshot has to be unique, so it contains the time at which this deployment was created.
resource "terraform_data" "created" {
  input = formatdate("YYYYMMDDhhmmss", timestamp())

  lifecycle {
    ignore_changes = [input]
  }
}

resource "aws_db_instance" "main" {
  #checkov:skip=CKV_AWS_157:This is a variable. It is off by default because it doubles the price and no free tier includes it
  #checkov:skip=CKV_AWS_118:Enhanced monitoring is billed through CloudWatch Logs
  #checkov:skip=CKV_AWS_129:Export of logs is billed through CloudWatch Logs; RDS keeps them for three days anyway
  #checkov:skip=CKV_AWS_353:Performance Insights does not exist for db.t3.micro
  #checkov:skip=CKV_AWS_161:The application's role has a password that the host generates and rotates; IAM tokens live 15 minutes and need a call per connection
  #checkov:skip=CKV_AWS_293:This is a variable. It is off by default so that terraform destroy ends the costs; the final snapshot keeps the data
  #checkov:skip=CKV2_AWS_30:Logging of every statement would write the tasks' payloads into the log
  #checkov:skip=CKV2_AWS_60:Tags are copied to snapshots, see below
  identifier     = "${var.name}-db"
  engine         = "postgres"
  engine_version = "16"
  instance_class = var.db_instance_class
  db_name        = "scheduler"

  # RDS generates the password, stores it in Secrets Manager and changes it every week, so Terraform never sees it.
  username                    = "scheduler_master"
  manage_master_user_password = true

  # max_allocated_storage is not set, because automatic growth would also raise the costs.
  storage_type      = "gp3"
  allocated_storage = var.db_storage_gib
  storage_encrypted = true

  port                = local.store_ports.postgresql
  publicly_accessible = false
  multi_az            = var.db_multi_az
  # The database is in the host's zone, because traffic between zones is slower and billed.
  availability_zone      = var.db_multi_az ? null : aws_subnet.private[0].availability_zone
  db_subnet_group_name   = aws_db_subnet_group.main.name
  vpc_security_group_ids = [aws_security_group.scheduler.id]
  parameter_group_name   = aws_db_parameter_group.main.name

  auto_minor_version_upgrade = true
  apply_immediately          = false
  maintenance_window         = "sun:04:30-sun:05:30"
  backup_window              = "03:00-04:00"
  backup_retention_period    = var.db_backup_days
  copy_tags_to_snapshot      = true

  deletion_protection       = var.db_deletion_protection
  delete_automated_backups  = true
  skip_final_snapshot       = !var.db_final_snapshot
  final_snapshot_identifier = var.db_final_snapshot ? "${var.name}-db-final-${terraform_data.created.output}" : null

  tags = { Name = "${var.name}-db" }

  lifecycle {
    # The database may be in another zone after a failover or after Multi-AZ was switched off. Moving it back would
    # replace it with a new, empty one.
    ignore_changes = [availability_zone]
  }
}
