# Checks that wrong values are refused before any resource is created.

mock_provider "aws" {
  source = "./tests/mocks"
}

run "a_larger_host" {
  command = plan
  variables {
    instance_type = "t3.small"
  }
  expect_failures = [var.instance_type]
}

run "a_larger_database" {
  command = plan
  variables {
    db_instance_class = "db.m5.large"
  }
  expect_failures = [var.db_instance_class]
}

run "a_smaller_disk_of_the_database" {
  command = plan
  variables {
    db_storage_gib = 10
  }
  expect_failures = [var.db_storage_gib]
}

run "the_api_for_the_internet" {
  command = plan
  variables {
    allowed_cidrs = ["0.0.0.0/0"]
  }
  expect_failures = [var.allowed_cidrs]
}

run "half_the_internet" {
  command = plan
  variables {
    allowed_cidrs = ["0.0.0.0/1", "128.0.0.0/1"]
  }
  expect_failures = [var.allowed_cidrs]
}

run "a_network_without_a_prefix_length" {
  command = plan
  variables {
    allowed_cidrs = ["203.0.113.7"]
  }
  expect_failures = [var.allowed_cidrs]
}

run "an_address_with_the_mask_of_a_network" {
  command = plan
  variables {
    allowed_cidrs = ["203.0.113.7/24"]
    ssh_cidrs     = ["203.0.113.7/24"]
  }
  expect_failures = [var.allowed_cidrs, var.ssh_cidrs]
}

run "an_image_that_moves" {
  command = plan
  variables {
    image = "ghcr.io/example/scheduler:latest"
  }
  expect_failures = [var.image]
}

run "an_image_without_a_tag" {
  command = plan
  variables {
    image = "ghcr.io/example/scheduler"
  }
  expect_failures = [var.image]
}

run "ssh_for_the_internet" {
  command = plan
  variables {
    ssh_cidrs = ["0.0.0.0/0"]
  }
  expect_failures = [var.ssh_cidrs]
}

run "another_ubuntu" {
  command = plan
  variables {
    ubuntu_version = "20.04"
  }
  expect_failures = [var.ubuntu_version]
}

run "a_tag_that_moves" {
  command = plan
  variables {
    image_tag = "latest"
  }
  expect_failures = [var.image_tag]
}

run "another_redis" {
  command = plan
  variables {
    redis = "memcached"
  }
  expect_failures = [var.redis]
}

run "a_token_without_managed_redis" {
  command = plan
  variables {
    redis_token_secret_arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:token-AbCdEf"
  }
  expect_failures = [var.redis_token_secret_arn]
}

run "a_token_itself" {
  command = plan
  variables {
    redis                  = "elasticache"
    redis_token_secret_arn = "not-an-arn-but-a-token"
  }
  expect_failures = [var.redis_token_secret_arn]
}

run "a_secret_among_the_settings" {
  command = plan
  variables {
    settings = { DATABASE_URL = "postgresql://localhost/scheduler" }
  }
  expect_failures = [var.settings]
}

run "another_secret_among_the_settings" {
  command = plan
  variables {
    settings = { REDIS_SENTINEL_PASSWORD = "an-example" }
  }
  expect_failures = [var.settings]
}

run "another_metrics_port" {
  command = plan
  variables {
    settings = { METRICS_PORT = "9000" }
  }
  expect_failures = [var.settings]
}

run "a_host_that_cannot_reach_aws" {
  command = plan
  variables {
    egress_ports = [80]
  }
  expect_failures = [var.egress_ports]
}

run "a_disk_that_is_not_free" {
  command = plan
  variables {
    root_volume_gib = 100
  }
  expect_failures = [var.root_volume_gib]
}

run "too_many_nodes" {
  command = plan
  variables {
    redis_nodes = 9
  }
  expect_failures = [var.redis_nodes]
}

run "not_an_email_address" {
  command = plan
  variables {
    budget_email = "nobody"
  }
  expect_failures = [var.budget_email]
}

run "a_budget_of_nothing" {
  command = plan
  variables {
    budget_email = "you@example.org"
    budget_usd   = 0
  }
  expect_failures = [var.budget_usd]
}

run "a_name_that_rds_refuses" {
  command = plan
  variables {
    name = "Task--Scheduler"
  }
  expect_failures = [var.name]
}

run "another_partition" {
  command = plan
  variables {
    region = "us-gov-west-1"
  }
  expect_failures = [var.region]
}

run "not_a_region" {
  command = plan
  variables {
    region = "europe"
  }
  expect_failures = [var.region]
}

run "backups_for_too_many_days" {
  command = plan
  variables {
    db_backup_days = 100
  }
  expect_failures = [var.db_backup_days]
}

run "another_mode" {
  command = plan
  variables {
    auth_mode = "auto"
  }
  expect_failures = [var.auth_mode]
}

run "a_mode_among_the_settings" {
  command = plan
  variables {
    settings = { AUTH = "open" }
  }
  expect_failures = [var.settings]
}

run "other_clients_among_the_settings" {
  command = plan
  variables {
    settings = { CLIENTS_DIR = "/tmp" }
  }
  expect_failures = [var.settings]
}
