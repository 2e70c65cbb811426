{{/* Connections of the processes to PostgreSQL and Redis. */}}

{{/* Encodes a name for a URL. `urlquery` encodes for forms, where a space becomes a plus. */}}
{{- define "scheduler.urlPart" -}}
{{- urlquery . | replace "+" "%20" -}}
{{- end }}

{{/* Passwords are passed as PGPASSWORD, which needs no encoding. PGSSLMODE applies to URLs without a mode. */}}
{{- define "scheduler.databaseEnv" -}}
{{- $external := .Values.externalDatabase -}}
{{- if .Values.postgresql.enabled -}}
{{- $auth := .Values.postgresql.auth -}}
- name: PGPASSWORD
  valueFrom: {secretKeyRef: {name: {{ include "scheduler.evaluationSecretName" (dict "root" . "store" "postgresql") | quote }}, key: {{ $auth.passwordKey | quote }}}}
- name: DATABASE_URL
  value: postgresql://{{ $auth.username }}@{{ include "scheduler.fullname" . }}-postgresql:5432/{{ $auth.database }}
{{- else }}
{{- if $external.host -}}
- name: PGPASSWORD
  valueFrom: {secretKeyRef: {name: {{ $external.existingSecret | quote }}, key: {{ $external.passwordKey | quote }}}}
- name: DATABASE_URL
  value: postgresql://{{ include "scheduler.urlPart" $external.username }}@{{ $external.host }}:{{ $external.port }}/{{ include "scheduler.urlPart" $external.database }}
{{- else if .Values.secretsAsFiles -}}
- name: DATABASE_URL_FILE
  value: /etc/scheduler/secrets/database/url
{{- else -}}
- name: DATABASE_URL
  valueFrom: {secretKeyRef: {name: {{ $external.existingSecret | quote }}, key: {{ $external.urlKey | quote }}}}
{{- end }}
- name: PGSSLMODE
  value: {{ $external.sslMode }}
{{- end }}
{{- if .Values.trustedCertificates.existingSecret }}
- name: NODE_EXTRA_CA_CERTS
  value: /etc/scheduler/certificates/{{ .Values.trustedCertificates.key }}
{{- end }}
{{- end }}

{{/* Settings of `config` for the migrations and for the init containers that wait for them. They use only PostgreSQL. */}}
{{- define "scheduler.databaseSettings" -}}
{{- $settings := dict -}}
{{- range $name, $value := .Values.config -}}
{{- if hasPrefix "DATABASE_" $name }}{{ $_ := set $settings $name $value }}{{ end -}}
{{- end -}}
{{- include "scheduler.settings" $settings -}}
{{- end }}

{{- define "scheduler.redisEnv" -}}
{{- $external := .Values.externalRedis -}}
{{- if .Values.redis.enabled -}}
- name: REDIS_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ include "scheduler.evaluationSecretName" (dict "root" . "store" "redis") | quote }}, key: {{ .Values.redis.auth.passwordKey | quote }}}}
- name: REDIS_URL
  value: redis://:$(REDIS_PASSWORD)@{{ include "scheduler.fullname" . }}-redis:6379/0
{{- else if or $external.host $external.sentinel.addresses -}}
{{- $credentials := "" -}}
{{- /* The Sentinels name the host, but a URL is not valid without one. */ -}}
{{- $host := $external.host | default "master" -}}
{{- if $external.existingSecret -}}
{{- $credentials = printf "%s:$(REDIS_PASSWORD)@" (include "scheduler.urlPart" $external.username) -}}
- name: REDIS_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ $external.existingSecret | quote }}, key: {{ $external.passwordKey | quote }}}}
{{ end -}}
- name: REDIS_URL
  value: {{ printf "%s://%s%s:%v/%v" (ternary "rediss" "redis" $external.tls) $credentials $host (int $external.port) (int $external.database) }}
{{- else if .Values.secretsAsFiles -}}
- name: REDIS_URL_FILE
  value: /etc/scheduler/secrets/redis/url
{{- else -}}
- name: REDIS_URL
  valueFrom: {secretKeyRef: {name: {{ $external.existingSecret | quote }}, key: {{ $external.urlKey | quote }}}}
{{- end }}
{{- if and $external.sentinel.addresses (not .Values.redis.enabled) }}
- name: REDIS_SENTINELS
  value: {{ join "," $external.sentinel.addresses | quote }}
- name: REDIS_SENTINEL_MASTER
  value: {{ $external.sentinel.master | quote }}
- name: REDIS_SENTINEL_TLS
  value: {{ $external.sentinel.tls | quote }}
{{- with $external.sentinel.username }}
- name: REDIS_SENTINEL_USERNAME
  value: {{ . | quote }}
{{- end }}
{{- with $external.sentinel.passwordKey }}
- name: REDIS_SENTINEL_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ $external.existingSecret | quote }}, key: {{ . | quote }}}}
{{- end }}
{{- end }}
{{- if and $external.cluster (not .Values.redis.enabled) }}
- name: REDIS_CLUSTER
  value: "true"
{{- end }}
{{- end }}

{{/* Volumes for secretsAsFiles, as JSON: a map from the volume's name to Secret, key and mount path. */}}
{{- define "scheduler.secretFiles" -}}
{{- $files := dict -}}
{{- if .Values.secretsAsFiles -}}
{{- $database := .Values.externalDatabase -}}
{{- $redis := .Values.externalRedis -}}
{{- $_ := set $files "database-secret" (dict "mountPath" "/etc/scheduler/secrets/database" "secretName" $database.existingSecret
  "items" (list (dict "key" $database.urlKey "path" "url"))) -}}
{{- if not (or $redis.host $redis.sentinel.addresses) -}}
{{- $_ := set $files "redis-secret" (dict "mountPath" "/etc/scheduler/secrets/redis" "secretName" $redis.existingSecret
  "items" (list (dict "key" $redis.urlKey "path" "url"))) -}}
{{- end -}}
{{- end -}}
{{- toJson $files -}}
{{- end }}

{{/* Environment variables with the addresses and credentials of both stores, which every process needs. */}}
{{- define "scheduler.storeEnv" -}}
{{ include "scheduler.databaseEnv" . }}
{{ include "scheduler.redisEnv" . }}
{{- end }}

{{/* Largest number of connections to PostgreSQL: all groups have their largest size, and a rollout adds pods. */}}
{{- define "scheduler.connections" -}}
{{- $readsOfApi := 4 -}}
{{- $total := mul (add .Values.api.replicas 1) (add .Values.api.databasePoolMax $readsOfApi) -}}
{{- range $name, $group := include "scheduler.workerGroups" . | fromJson -}}
{{- $largest := include "scheduler.largestReplicas" $group | int -}}
{{- $surge := divf $largest 4 | ceil | int -}}
{{- $total = add $total (mul (add $largest $surge) (int $group.databasePoolMax)) -}}
{{- end -}}
{{- /* Adds connections for the reclaimer, the migration and an administrator. */ -}}
{{- add $total 5 -}}
{{- end }}
