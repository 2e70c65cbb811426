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
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- with .group }}
scheduler/worker-group: {{ . }}
{{- end }}
{{- end }}

{{- define "scheduler.labels" -}}
{{ include "scheduler.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Name, namespace and labels of an object. Takes root, component, group, labels, annotations, and suffix or name. */}}
{{- define "scheduler.metadata" -}}
{{- $suffixed := printf "%s-%s" (include "scheduler.fullname" .root) (.suffix | default "") | trimSuffix "-" -}}
name: {{ .name | default $suffixed }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "scheduler.labels" . | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Takes a map of repository, tag and digest, and a default for the tag. */}}
{{- define "scheduler.image" -}}
{{- $image := .image -}}
{{- printf "%s:%s" $image.repository (default .tag $image.tag) -}}
{{- with $image.digest }}@{{ . }}{{ end -}}
{{- end }}

{{/* What the pods of a component may do to pods: one verb, or nothing. Takes root and component. */}}
{{- define "scheduler.podVerb" -}}
{{- if and (eq .component "reclaimer") .root.Values.reclaimer.podCheck -}}
get
{{- else if eq .component "worker" -}}
{{- range $name, $group := include "scheduler.workerGroups" .root | fromJson -}}
{{- if $group.podDeletionCost }}patch {{ end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Takes root and component. Who has rights has an account of its own, so that nobody else gets them. */}}
{{- define "scheduler.serviceAccountName" -}}
{{- $account := .root.Values.serviceAccount -}}
{{- if not $account.create -}}
{{- default "default" $account.name -}}
{{- else -}}
{{- $name := default (include "scheduler.fullname" .root) $account.name -}}
{{- ternary (printf "%s-%s" $name .component) $name (ne (include "scheduler.podVerb" .) "") -}}
{{- end -}}
{{- end }}

{{/* Takes root and store: the Secret that holds the password of an evaluation store. */}}
{{- define "scheduler.evaluationSecretName" -}}
{{- $auth := (index .root.Values .store).auth -}}
{{- default (printf "%s-%s" (include "scheduler.fullname" .root) .store) $auth.existingSecret -}}
{{- end }}
