# Checks the effects of variables.

mock_provider "aws" {
  source = "./tests/mocks"
}

run "managed_redis" {
  variables {
    redis = "elasticache"
  }
  assert {
    condition     = aws_elasticache_replication_group.main[0].transit_encryption_enabled && aws_elasticache_replication_group.main[0].at_rest_encryption_enabled
    error_message = "Redis uses TLS and encryption at rest"
  }
  assert {
    condition     = [for parameter in aws_elasticache_parameter_group.main[0].parameter : "${parameter.name}=${parameter.value}"] == ["maxmemory-policy=noeviction"]
    error_message = "Redis must not evict keys"
  }
  assert {
    condition     = aws_elasticache_replication_group.main[0].auth_token == null
    error_message = "an auth token would be readable in the state"
  }
  assert {
    condition     = aws_elasticache_replication_group.main[0].snapshot_retention_limit == 0 && aws_elasticache_replication_group.main[0].node_type == "cache.t3.micro" && aws_elasticache_replication_group.main[0].num_cache_clusters == 1
    error_message = "Redis is one small node without snapshots"
  }
  assert {
    condition     = aws_elasticache_replication_group.main[0].security_group_ids == toset([aws_security_group.scheduler.id])
    error_message = "only members of the group can reach Redis"
  }
  assert {
    condition     = local.host_settings.redis.url == "rediss://master.scheduler-redis.example.use1.cache.amazonaws.com:6379/0"
    error_message = "the URL uses TLS"
  }
  assert {
    condition     = !contains(keys(local.compose.services), "redis") && alltrue([for service in values(local.compose.services) : !contains(keys(try(service.depends_on, {})), "redis")])
    error_message = "there is no Redis container, and no service depends on one"
  }
}

run "managed_redis_with_a_replica" {
  variables {
    redis       = "elasticache"
    redis_nodes = 2
  }
  assert {
    condition     = aws_elasticache_replication_group.main[0].automatic_failover_enabled && aws_elasticache_replication_group.main[0].multi_az_enabled
    error_message = "two nodes in two zones can fail over"
  }
}

run "managed_redis_with_a_token" {
  variables {
    redis                  = "elasticache"
    redis_token_secret_arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:scheduler-redis-token-AbCdEf"
  }
  assert {
    condition     = contains(flatten([for statement in data.aws_iam_policy_document.server.statement : tolist(statement.resources) if statement.sid == "ReadSecrets"]), var.redis_token_secret_arn)
    error_message = "the host may read the token"
  }
  assert {
    condition     = local.host_settings.redis.tokenSecretArn == var.redis_token_secret_arn
    error_message = "the user data has the ARN of the token's secret"
  }
}

run "ssh_for_one_network" {
  variables {
    ssh_cidrs = ["203.0.113.7/32"]
  }
  assert {
    condition     = [for rule in aws_vpc_security_group_ingress_rule.ssh : "${rule.cidr_ipv4} ${rule.to_port}"] == ["203.0.113.7/32 22"]
    error_message = "port 22 is open to that network"
  }
}

run "the_older_free_tier" {
  variables {
    instance_type = "t2.micro"
  }
  assert {
    condition     = aws_instance.server.instance_type == "t2.micro" && one(aws_instance.server.credit_specification).cpu_credits == "standard"
    error_message = "t2.micro can be chosen"
  }
}

run "a_budget" {
  variables {
    budget_email = "you@example.org"
  }
  assert {
    condition     = aws_budgets_budget.monthly[0].limit_amount == "5.0" && aws_budgets_budget.monthly[0].limit_unit == "USD"
    error_message = "the limit is 5 USD per month"
  }
  assert {
    condition     = alltrue([for notification in aws_budgets_budget.monthly[0].notification : notification.subscriber_email_addresses == toset(["you@example.org"])])
    error_message = "every notification goes to that address"
  }
  assert {
    condition     = toset([for notification in aws_budgets_budget.monthly[0].notification : "${notification.notification_type} ${notification.threshold} ${notification.threshold_type}"]) == toset(["ACTUAL 80 PERCENTAGE", "FORECASTED 100 PERCENTAGE"])
    error_message = "notifications are sent at 80 % of the limit and when the forecast exceeds it"
  }
}

run "a_fixed_address" {
  variables {
    fixed_address = true
  }
  assert {
    condition     = output.api_url == "http://198.51.100.8:8000"
    error_message = "the API's URL has the fixed address"
  }
}

run "a_database_that_is_kept" {
  variables {
    db_deletion_protection = true
    db_backup_days         = 7
  }
  assert {
    condition     = aws_db_instance.main.deletion_protection && aws_db_instance.main.backup_retention_period == 7
    error_message = "protection and backups are variables"
  }
}

run "a_larger_database_with_a_standby" {
  variables {
    db_multi_az    = true
    db_storage_gib = 40
  }
  assert {
    condition     = aws_db_instance.main.allocated_storage == 40
    error_message = "storage is a variable"
  }
  assert {
    condition     = aws_db_instance.main.multi_az
    error_message = "Multi-AZ is a variable"
  }
}

run "a_database_that_leaves_nothing" {
  variables {
    db_final_snapshot = false
  }
  assert {
    condition     = aws_db_instance.main.skip_final_snapshot && output.final_snapshot == null
    error_message = "no snapshot is left behind"
  }
}

run "open_to_everyone" {
  variables {
    auth_mode = "open"
    settings  = { ALLOWED_HOSTS = "tasks.example.org" }
  }
  assert {
    condition     = local.compose.services.api.environment.AUTH == "open" && !contains(keys(local.compose.services.api.environment), "CLIENTS_DIR")
    error_message = "the API asks nobody for a key"
  }
  assert {
    condition     = local.host_settings.firstSecret == null && output.secret_command == null
    error_message = "there is no first client"
  }
  assert {
    condition     = length([for statement in data.aws_iam_policy_document.server.statement : statement if contains(statement.actions, "ssm:PutParameter")]) == 0 && anytrue([for statement in data.aws_iam_policy_document.server.statement : statement.effect == "Deny" && statement.resources == toset(["*"])])
    error_message = "the role has no parameter"
  }
  assert {
    condition     = local.compose.services.api.environment.ALLOWED_HOSTS == "tasks.example.org"
    error_message = "the names of a proxy can be added"
  }
}
