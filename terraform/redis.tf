# The managed Redis. With redis = "container", none of these resources exist.

locals {
  managed_redis = var.redis == "elasticache"
}

resource "aws_elasticache_subnet_group" "main" {
  count = local.managed_redis ? 1 : 0

  name        = "${var.name}-redis"
  description = "Private subnets of the scheduler"
  subnet_ids  = aws_subnet.private[*].id
}

resource "aws_elasticache_parameter_group" "main" {
  count = local.managed_redis ? 1 : 0

  name        = "${var.name}-redis7"
  family      = "redis7"
  description = "Redis 7 that refuses writes when it is full, and evicts nothing"

  # The default, volatile-lru, could evict heartbeats, because they have a time to live.
  parameter {
    name  = "maxmemory-policy"
    value = "noeviction"
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_elasticache_replication_group" "main" {
  #checkov:skip=CKV_AWS_31:TLS is on. Terraform would store an auth token in the state, and the only machine that can reach the port would hold the token anyway. docs/aws.md explains how to set one by hand
  #checkov:skip=CKV_AWS_191:The key of the service encrypts it; a separate key costs 1 USD a month, and the content can be rebuilt from PostgreSQL
  #checkov:skip=CKV2_AWS_50:One node cannot fail over; redis_nodes = 2 switches failover on
  count = local.managed_redis ? 1 : 0

  replication_group_id = "${var.name}-redis"
  description          = "Order of the scheduler's queues"
  engine               = "redis"
  engine_version       = "7.1"
  node_type            = var.redis_node_type
  port                 = local.store_ports.redis

  num_cache_clusters         = var.redis_nodes
  automatic_failover_enabled = var.redis_nodes > 1
  multi_az_enabled           = var.redis_nodes > 1

  subnet_group_name          = aws_elasticache_subnet_group.main[0].name
  security_group_ids         = [aws_security_group.scheduler.id]
  parameter_group_name       = aws_elasticache_parameter_group.main[0].name
  transit_encryption_enabled = true
  at_rest_encryption_enabled = true
  auto_minor_version_upgrade = true
  apply_immediately          = true
  maintenance_window         = "sun:05:30-sun:06:30"

  # The content is rebuilt from PostgreSQL, so snapshots would only cause costs.
  snapshot_retention_limit = 0

  tags = { Name = "${var.name}-redis" }
}
