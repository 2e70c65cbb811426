resource "aws_ecr_repository" "main" {
  #checkov:skip=CKV_AWS_136:The key of the service encrypts it; a separate key costs 1 USD a month
  name = var.name
  # With mutable tags, two hosts with the same configuration could run different code.
  image_tag_mutability = "IMMUTABLE"
  # Otherwise terraform destroy would fail because of the images, and they would continue to cause costs.
  force_delete = true

  image_scanning_configuration {
    scan_on_push = true
  }
}

resource "aws_ecr_lifecycle_policy" "main" {
  repository = aws_ecr_repository.main.name

  policy = jsonencode({
    rules = [{
      rulePriority = 1
      description  = "Keep five images, so that the repository stays small"
      selection    = { tagStatus = "any", countType = "imageCountMoreThan", countNumber = 5 }
      action       = { type = "expire" }
    }]
  })
}
