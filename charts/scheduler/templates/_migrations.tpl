{{/* Migrations. */}}

{{/* Command that shows the logs of all migration pods. It uses labels, because the Job's name changes with its content. */}}
{{- define "scheduler.migrationsLog" -}}
kubectl --namespace {{ .Release.Namespace }} logs --selector app.kubernetes.io/instance={{ .Release.Name }},app.kubernetes.io/component=migrations --all-containers --prefix --tail=-1
{{- end }}

{{/* The hint that pods log while they wait for the schema. */}}
{{- define "scheduler.migrationsHint" -}}
{{- if eq .Values.migrations.mode "none" -}}
migrations.mode=none: run `migrate` of this image
{{- else -}}
{{ include "scheduler.migrationsLog" . }}
{{- end -}}
{{- end }}
