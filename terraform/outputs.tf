output "api_url" {
  description = "Where the API answers for allowed_cidrs, some minutes after the first apply."
  value       = "http://${var.fixed_address ? aws_eip.server[0].public_ip : aws_instance.server.public_ip}:${local.api_port}"
}

output "instance_id" {
  description = "The host, for Session Manager, stop and start."
  value       = aws_instance.server.id
}

output "shell_command" {
  description = "Opens a shell on the host."
  value       = "aws ssm start-session --region ${var.region} --target ${aws_instance.server.id}"
}

output "tunnel_command" {
  description = "Makes the API answer on http://localhost:8000 where allowed_cidrs is empty."
  value       = "aws ssm start-session --region ${var.region} --target ${aws_instance.server.id} --document-name AWS-StartPortForwardingSession --parameters portNumber=${local.api_port},localPortNumber=8000"
}

output "repository_url" {
  description = "ECR repository to push the image to."
  value       = aws_ecr_repository.main.repository_url
}

output "image" {
  description = "Image that the host runs."
  value       = local.image
}

output "database_address" {
  description = "Host name of the database, reachable from members of the security group only."
  value       = aws_db_instance.main.address
}

output "database_secret_arn" {
  description = "Secret of the database's master, made and rotated by RDS."
  value       = aws_db_instance.main.master_user_secret[0].secret_arn
}

output "redis_address" {
  description = "Host name of the managed Redis; null where it runs on the host."
  value       = local.managed_redis ? aws_elasticache_replication_group.main[0].primary_endpoint_address : null
}

output "final_snapshot" {
  description = "Name of the snapshot that terraform destroy will leave behind, and that costs until it is deleted; null for none."
  value       = aws_db_instance.main.final_snapshot_identifier
}
