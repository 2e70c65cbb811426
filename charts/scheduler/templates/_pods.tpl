{{/* Parts that all pods share. */}}

{{/* Constraints on the nodes that a pod may run on. Takes root, component, group and settings. */}}
{{- define "scheduler.placement" -}}
nodeSelector: {{ mustMergeOverwrite (dict "kubernetes.io/os" "linux") (deepCopy .settings.nodeSelector) | toJson }}
{{- with .settings.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- with .settings.affinity }}
affinity: {{ toJson . }}
{{- end }}
{{- with .settings.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .settings.topologySpreadConstraints }}
{{- $own := dict "labelSelector" (dict "matchLabels" (include "scheduler.selectorLabels" $ | fromYaml)) }}
topologySpreadConstraints:
  {{- range . }}
  - {{ mustMerge (deepCopy .) $own | toJson }}
  {{- end }}
{{- end }}
{{- end }}

{{/*
Labels and annotations of a pod. They must not depend on the version of the chart: a pod is replaced only if its programs
or its inputs change. Takes root, component, group, settings, passwordsOf (the evaluation stores whose passwords it
reads) and scrapePort.
*/}}
{{- define "scheduler.podMetadata" -}}
labels:
  {{- mustMergeOverwrite (include "scheduler.selectorLabels" . | fromYaml) (deepCopy .settings.podLabels) | toYaml | nindent 2 }}
{{- $annotations := dict }}
{{- with include "scheduler.passwordChecksum" (dict "root" .root "stores" (.passwordsOf | default list)) }}
{{- $_ := set $annotations "checksum/passwords" . }}
{{- end }}
{{- if and .scrapePort .root.Values.metrics.annotations (not .root.Values.metrics.monitors.enabled) }}
{{- $_ := mustMergeOverwrite $annotations (dict "prometheus.io/scrape" "true" "prometheus.io/path" "/metrics" "prometheus.io/port" (toString .scrapePort)) }}
{{- end }}
{{- with mustMergeOverwrite $annotations (deepCopy .settings.podAnnotations) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Checksum of the passwords that the chart puts into the Secrets of these stores; empty if there are none. */}}
{{- define "scheduler.passwordChecksum" -}}
{{- $passwords := dict -}}
{{- range .stores -}}
{{- $values := index $.root.Values . -}}
{{- if and $values.enabled (not $values.auth.existingSecret) -}}
{{- $_ := set $passwords . $values.auth.password -}}
{{- end -}}
{{- end -}}
{{- if $passwords -}}
{{- list .root.Release.Namespace .root.Release.Name $passwords | toJson | sha256sum -}}
{{- end -}}
{{- end }}

{{/*
A pod of the scheduler's own image. Takes root, component, group, settings, graceSeconds, containers (YAML), and
optionally restartPolicy, waitFor (database or schema), passwordsOf, scrapePort, withoutAccount, stores (mounts the
Secrets of the stores) and extras (adds the user's volumes).
*/}}
{{- define "scheduler.podTemplate" -}}
metadata:
  {{- include "scheduler.podMetadata" . | nindent 2 }}
spec:
  {{- if not .withoutAccount }}
  serviceAccountName: {{ include "scheduler.serviceAccountName" . | quote }}
  {{- end }}
  automountServiceAccountToken: {{ ne (include "scheduler.rights" .) "{}" }}
  enableServiceLinks: false
  {{- include "scheduler.signals" . | nindent 2 }}
  terminationGracePeriodSeconds: {{ .graceSeconds }}
  {{- with .restartPolicy }}
  restartPolicy: {{ . }}
  {{- end }}
  {{- with .root.Values.image.pullSecrets }}
  imagePullSecrets: {{ toJson . }}
  {{- end }}
  securityContext: {{ toJson .root.Values.podSecurityContext }}
  {{- $sync := and .extras .root.Values.development.sync }}
  {{- if or .waitFor $sync }}
  initContainers:
  {{- end }}
  {{- if $sync }}
    - name: copy-sources
      {{- include "scheduler.ownImage" $.root | nindent 6 }}
      command: [cp, --recursive, /app/src/., /sources]
      resources: {{ toJson $.settings.resources }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        - {name: sources, mountPath: /sources}
  {{- end }}
  {{- with .waitFor }}
    - name: wait-for-{{ . }}
      {{- include "scheduler.ownImage" $.root | nindent 6 }}
      command: [node, --input-type=module, --eval]
      args:
        - |
          {{- $.root.Files.Get "files/wait-for.mjs" | trim | nindent 10 }}
        - {{ . }}
        {{- if eq . "schema" }}
        - {{ include "scheduler.migrationsHint" $.root | quote }}
        {{- end }}
      env:
        {{- include "scheduler.databaseEnv" $.root | nindent 8 }}
        {{- include "scheduler.databaseSettings" $.root | nindent 8 }}
      resources: {{ toJson $.settings.resources }}
      volumeMounts:
        {{- include "scheduler.volumeMounts" (dict "root" $.root "stores" true) | nindent 8 }}
  {{- end }}
  containers:
    {{- .containers | nindent 4 }}
  volumes:
    - {name: tmp, emptyDir: {}}
    {{- with .root.Values.trustedCertificates.existingSecret }}
    - {name: certificates, secret: {secretName: {{ . | quote }}}}
    {{- end }}
    {{- if .stores }}
    {{- range $name, $secret := include "scheduler.secretFiles" .root | fromJson }}
    - {name: {{ $name }}, secret: {{ omit $secret "mountPath" | toJson }}}
    {{- end }}
    {{- end }}
    {{- range $name, $volume := include "scheduler.componentFiles" . | fromJson }}
    - {name: {{ $name }}, projected: {sources: {{ toJson $volume.sources }}}}
    {{- end }}
    {{- if $sync }}
    - {name: sources, emptyDir: {}}
    {{- end }}
    {{- if .extras }}
    {{- with .root.Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- end }}
  {{- include "scheduler.placement" . | nindent 2 }}
{{- end }}

{{/*
As process 1, a program ignores SIGTERM until it has installed a handler, and its pod would stay for the whole grace
period. With a shared process namespace, process 1 belongs to the pod, and SIGTERM ends the program.
*/}}
{{- define "scheduler.signals" -}}
shareProcessNamespace: true
{{- end }}

{{- define "scheduler.ownImage" -}}
image: {{ include "scheduler.image" (dict "image" .Values.image "tag" .Chart.AppVersion) }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext: {{ toJson .Values.containerSecurityContext }}
{{- end }}

{{/*
Mounts of a container. Takes root, stores (mounts the stores' Secrets), component (mounts the files of that component) and
extras (adds the user's mounts).
*/}}
{{- define "scheduler.volumeMounts" -}}
- {name: tmp, mountPath: /tmp}
{{- if .root.Values.trustedCertificates.existingSecret }}
- {name: certificates, mountPath: /etc/scheduler/certificates, readOnly: true}
{{- end }}
{{- if .stores }}
{{- range $name, $secret := include "scheduler.secretFiles" .root | fromJson }}
- {name: {{ $name }}, mountPath: {{ $secret.mountPath }}, readOnly: true}
{{- end }}
{{- end }}
{{- if .component }}
{{- range $name, $volume := include "scheduler.componentFiles" . | fromJson }}
- {name: {{ $name }}, mountPath: {{ $volume.mountPath }}, readOnly: true}
{{- end }}
{{- end }}
{{- if .extras }}
{{- if .root.Values.development.sync }}
- {name: sources, mountPath: /app/src}
{{- end }}
{{- with .root.Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end }}

{{/* A setting as a text. Helm passes numbers as floating point; converting them to integers prevents exponents. */}}
{{- define "scheduler.text" -}}
{{- if kindIs "float64" . }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- end }}

{{/* Environment variables of a map of settings. */}}
{{- define "scheduler.settings" -}}
{{- range $name, $value := . }}
- {name: {{ $name }}, value: {{ include "scheduler.text" $value | quote }}}
{{- end }}
{{- end }}

{{/* Names of the environment variables that the chart itself sets. `extraEnv` must not repeat them. */}}
{{- define "scheduler.ownEnvironment" -}}
ALLOWED_HOSTS API_METRICS_PORT AUTH CLIENTS_DIR DATABASE_POOL_MAX DATABASE_URL DATABASE_URL_FILE HANDLERS HTTP_SECRETS_DIR HTTP_SIGNING_SECRET HTTP_SIGNING_SECRET_FILE HTTP_TARGETS KUBERNETES_JOBS KUBERNETES_JOBS_IMAGES KUBERNETES_JOBS_LABELS KUBERNETES_JOBS_NAMESPACE KUBERNETES_JOBS_PULL_SECRETS KUBERNETES_POD_CHECK METRICS_PORT NODE_EXTRA_CA_CERTS OIDC_ALGORITHMS OIDC_AUDIENCE OIDC_CA_FILE OIDC_CLIENT_ID OIDC_CLIENT_SECRET OIDC_CLIENT_SECRET_FILE OIDC_GRANTS OIDC_GRANTS_CLAIM OIDC_GRANTS_FILE OIDC_ISSUER OIDC_NAME_CLAIM OIDC_SCOPES PGPASSWORD PGSSLMODE POD_DELETION_COST POD_NAME POD_NAMESPACE POD_UID PORT PRIVATE_METADATA PUBLIC_URL RECLAIMER_WINDOW REDACTED_FIELDS REDACTED_FIELDS_FILE REDIS_CLUSTER REDIS_PASSWORD REDIS_SENTINELS REDIS_SENTINEL_MASTER REDIS_SENTINEL_PASSWORD REDIS_SENTINEL_TLS REDIS_SENTINEL_USERNAME REDIS_URL REDIS_URL_FILE SHUTDOWN_DELAY SHUTDOWN_GRACE SWEEP_INTERVAL WORKER_QUEUES WORKER_QUEUE_ORDER WORKER_SLOTS
{{- end }}

{{/*
Container of the API, a worker or the reclaimer. Takes root, name, args (by default, the name), env (a map that overrides
`config`), resources and pod (passes name and uid of the pod to the process). The settings are in the pod template and
not in a ConfigMap, so that a running pod keeps its settings, even if an upgrade changes them and a container restarts.
*/}}
{{- define "scheduler.process" -}}
name: {{ .name }}
{{ include "scheduler.ownImage" .root }}
{{- if .root.Values.development.sync }}
command: [node, --watch, src/main.ts]
{{- end }}
args: {{ .args | default (list .name) | toJson }}
{{- with .root.Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
env:
  {{- include "scheduler.storeEnv" .root | nindent 2 }}
  {{- if .pod }}
  - {name: POD_UID, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}
  - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
  - {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
  {{- end }}
  {{- include "scheduler.settings" (mustMergeOverwrite (deepCopy .root.Values.config) (deepCopy .env)) | nindent 2 }}
  {{- with .root.Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
resources: {{ toJson .resources }}
volumeMounts:
  {{- include "scheduler.volumeMounts" (dict "root" .root "stores" true "component" .name "extras" true) | nindent 2 }}
{{- end }}

{{/* Probes of a process that serves /healthz and /readyz on a named port. A probe does not query a store every time. */}}
{{- define "scheduler.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: {{ . }}}
  periodSeconds: 1
  timeoutSeconds: 2
  failureThreshold: 60
readinessProbe:
  httpGet: {path: /readyz, port: {{ . }}}
  periodSeconds: 3
  timeoutSeconds: 2
  failureThreshold: 2
livenessProbe:
  httpGet: {path: /healthz, port: {{ . }}}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
{{- end }}
