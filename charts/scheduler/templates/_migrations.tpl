{{/* Migrations. */}}

{{/* How to read the log of all their pods. By labels: the Job's name changes with its content. */}}
{{- define "scheduler.migrationsLog" -}}
kubectl --namespace {{ .Release.Namespace }} logs --selector app.kubernetes.io/instance={{ .Release.Name }},app.kubernetes.io/component=migrations --all-containers --prefix --tail=-1
{{- end }}

{{/* What pods that wait for the schema say. */}}
{{- define "scheduler.migrationsHint" -}}
{{- if eq .Values.migrations.mode "none" -}}
migrations.mode=none: run `migrate` of this image
{{- else -}}
{{ include "scheduler.migrationsLog" . }}
{{- end -}}
{{- end }}
