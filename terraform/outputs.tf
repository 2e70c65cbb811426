output "api_url" {
  description = "URL of the API for clients in allowed_cidrs. It answers some minutes after the first apply."
  value       = "http://${var.fixed_address ? aws_eip.server[0].public_ip : aws_instance.server.public_ip}:${local.api_port}"
}

output "secret_command" {
  description = "Command that prints the secret of the first client, `admin`, some minutes after the first apply. Null if nobody needs a key."
  value       = local.needs_keys ? "aws ssm get-parameter --region ${var.region} --name ${local.first_secret} --with-decryption --query Parameter.Value --output text" : null
}

output "instance_id" {
  description = "Id of the host, for Session Manager, stop and start."
  value       = aws_instance.server.id
}

output "shell_command" {
  description = "Command that opens a shell on the host."
  value       = "aws ssm start-session --region ${var.region} --target ${aws_instance.server.id}"
}

output "tunnel_command" {
  description = "Command that makes the API available at http://localhost:8000, also if allowed_cidrs is empty."
  value       = "aws ssm start-session --region ${var.region} --target ${aws_instance.server.id} --document-name AWS-StartPortForwardingSession --parameters portNumber=${local.api_port},localPortNumber=8000"
}

output "repository_url" {
  description = "URL of the ECR repository to which the image is pushed."
  value       = aws_ecr_repository.main.repository_url
}

output "image" {
  description = "Image that the host runs."
  value       = local.image
}

output "database_address" {
  description = "Host name of the database. Only members of the security group can reach it."
  value       = aws_db_instance.main.address
}

output "database_secret_arn" {
  description = "ARN of the secret with the password of the database's master user. RDS creates and rotates it."
  value       = aws_db_instance.main.master_user_secret[0].secret_arn
}

output "redis_address" {
  description = "Host name of the managed Redis; null if Redis runs on the host."
  value       = local.managed_redis ? aws_elasticache_replication_group.main[0].primary_endpoint_address : null
}

output "final_snapshot" {
  description = "Name of the snapshot that terraform destroy leaves behind. It causes costs until you delete it. Null if there will be no snapshot."
  value       = aws_db_instance.main.final_snapshot_identifier
}
