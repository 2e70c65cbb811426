{{/* Names, labels and images. */}}

{{/* Leaves room for the longest suffix, "-worker-" and a group's name of 20 characters, below 63. */}}
{{- define "scheduler.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := .Values.fullnameOverride -}}
{{- if not $full -}}
{{- $full = ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- end -}}
{{- if gt (len $full) 34 -}}
{{- /* Cut names must not collide. */ -}}
{{- printf "%s-%s" ($full | trunc 27 | trimSuffix "-") ($full | sha256sum | trunc 6) -}}
{{- else -}}
{{- $full -}}
{{- end -}}
{{- end }}

{{/* What never changes over upgrades: for selectors. Takes root, component and, for workers, group. */}}
{{- define "scheduler.selectorLabels" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride | trunc 63 | trimSuffix "-" | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- with .group }}
scheduler/worker-group: {{ . | quote }}
{{- end }}
{{- end }}

{{- define "scheduler.labels" -}}
{{ include "scheduler.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Name, namespace and labels of an object. Takes root, component, group, labels, annotations, namespace, and suffix or name. */}}
{{- define "scheduler.metadata" -}}
{{- $suffixed := printf "%s-%s" (include "scheduler.fullname" .root) (.suffix | default "") | trimSuffix "-" -}}
name: {{ .name | default $suffixed | quote }}
namespace: {{ default .root.Release.Namespace .namespace | quote }}
labels:
  {{- mustMergeOverwrite (include "scheduler.labels" . | fromYaml) (deepCopy (default dict .labels)) | toYaml | nindent 2 }}
{{- with .annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/*
Name of an object beside one of a group, also in a namespace that is not the release's: there, releases of one name in
several namespaces must not have the same. Takes root, suffix and namespace.
*/}}
{{- define "scheduler.nameIn" -}}
{{- $name := printf "%s-%s" (include "scheduler.fullname" .root) .suffix -}}
{{- if ne .namespace .root.Release.Namespace -}}
{{- $name = printf "%s-%s" ($name | trunc 54 | trimSuffix "-") (list .root.Release.Namespace $name | toJson | sha256sum | trunc 8) -}}
{{- end -}}
{{- $name -}}
{{- end }}

{{/* Takes root and group: labels of the pods that tasks of `kubernetes.job` run in, which no other release's have. */}}
{{- define "scheduler.jobLabels" -}}
{{ include "scheduler.selectorLabels" (dict "root" .root "component" "job" "group" .group) }}
scheduler/release-namespace: {{ .root.Release.Namespace | quote }}
{{- end }}

{{/* Takes a map of repository, tag and digest, and a default for the tag. */}}
{{- define "scheduler.image" -}}
{{- $image := .image -}}
{{- printf "%s:%s" $image.repository (default .tag $image.tag) -}}
{{- with $image.digest }}@{{ . }}{{ end -}}
{{- end }}

{{/*
What the pods of a component may ask of the Kubernetes API: rules by namespace, as JSON; `{}` for nothing.
Takes root, component and, for workers, group.
*/}}
{{- define "scheduler.rights" -}}
{{- $own := .root.Release.Namespace -}}
{{- $rights := dict -}}
{{- if and (eq .component "reclaimer") .root.Values.reclaimer.podCheck -}}
{{- $_ := set $rights $own (list (dict "apiGroups" (list "") "resources" (list "pods") "verbs" (list "get"))) -}}
{{- else if eq .component "worker" -}}
{{- $group := index (include "scheduler.workerGroups" .root | fromJson) .group -}}
{{- if $group.podDeletionCost -}}
{{- $_ := set $rights $own (list (dict "apiGroups" (list "") "resources" (list "pods") "verbs" (list "patch"))) -}}
{{- end -}}
{{- if $group.kubernetesJobs.enabled -}}
{{- $namespace := default $own $group.kubernetesJobs.namespace -}}
{{- $_ := set $rights $namespace (concat (get $rights $namespace | default list) (list
  (dict "apiGroups" (list "batch") "resources" (list "jobs") "verbs" (list "create" "get" "list" "delete"))
  (dict "apiGroups" (list "") "resources" (list "pods") "verbs" (list "list"))
  (dict "apiGroups" (list "") "resources" (list "pods/log") "verbs" (list "get"))
)) -}}
{{- end -}}
{{- end -}}
{{- toJson $rights -}}
{{- end }}

{{/* Takes root, component and group. Who has rights has an account of its own, so that nobody else gets them. */}}
{{- define "scheduler.serviceAccountName" -}}
{{- $account := .root.Values.serviceAccount -}}
{{- if not $account.create -}}
{{- default "default" $account.name -}}
{{- else -}}
{{- $name := default (include "scheduler.fullname" .root) $account.name -}}
{{- ternary $name (list $name .component .group | compact | join "-") (eq (include "scheduler.rights" .) "{}") -}}
{{- end -}}
{{- end }}

{{/* Takes root and store: the Secret that holds the password of an evaluation store. */}}
{{- define "scheduler.evaluationSecretName" -}}
{{- $auth := (index .root.Values .store).auth -}}
{{- default (printf "%s-%s" (include "scheduler.fullname" .root) .store) $auth.existingSecret -}}
{{- end }}
