{{/* Names, labels and images. */}}

{{/* Prefix of all names. It is at most 34 characters long, so that names with the longest suffix, "-worker-" and a group's
name of 20 characters, stay below 63. */}}
{{- define "scheduler.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := .Values.fullnameOverride -}}
{{- if not $full -}}
{{- $full = ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- end -}}
{{- if gt (len $full) 34 -}}
{{- /* The hash keeps two long names apart that begin with the same characters. */ -}}
{{- printf "%s-%s" ($full | trunc 27 | trimSuffix "-") ($full | sha256sum | trunc 6) -}}
{{- else -}}
{{- $full -}}
{{- end -}}
{{- end }}

{{/* Labels that upgrades never change, for selectors. Takes root, component and, for workers, group. */}}
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
Name of an object that may be in another namespace than the release. There, the name gets a hash, so that releases of
the same name in different namespaces do not collide. Takes root, suffix and namespace.
*/}}
{{- define "scheduler.nameIn" -}}
{{- $name := printf "%s-%s" (include "scheduler.fullname" .root) .suffix -}}
{{- if ne .namespace .root.Release.Namespace -}}
{{- $name = printf "%s-%s" ($name | trunc 54 | trimSuffix "-") (list .root.Release.Namespace $name | toJson | sha256sum | trunc 8) -}}
{{- end -}}
{{- $name -}}
{{- end }}

{{/* Labels of the pods of `kubernetes.job`. They differ from those of every other release. Takes root and group. */}}
{{- define "scheduler.jobLabels" -}}
{{ include "scheduler.selectorLabels" (dict "root" .root "component" "job" "group" .group) }}
scheduler/release-namespace: {{ .root.Release.Namespace | quote }}
{{- end }}

{{/* Full name of an image. Takes image (a map of repository, tag and digest) and tag (the default). */}}
{{- define "scheduler.image" -}}
{{- $image := .image -}}
{{- printf "%s:%s" $image.repository (default .tag $image.tag) -}}
{{- with $image.digest }}@{{ . }}{{ end -}}
{{- end }}

{{/*
Rights of a component's pods at the Kubernetes API, as JSON: a map from namespaces to rules, `{}` without rights.
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

{{/* Name of a component's account. Components with rights get a separate account, so that no other pod gets these
rights. Takes root, component and group. */}}
{{- define "scheduler.serviceAccountName" -}}
{{- $account := .root.Values.serviceAccount -}}
{{- if not $account.create -}}
{{- default "default" $account.name -}}
{{- else -}}
{{- $name := default (include "scheduler.fullname" .root) $account.name -}}
{{- ternary $name (list $name .component .group | compact | join "-") (eq (include "scheduler.rights" .) "{}") -}}
{{- end -}}
{{- end }}

{{/* Name of the Secret that holds the password of an evaluation store. Takes root and store. */}}
{{- define "scheduler.evaluationSecretName" -}}
{{- $auth := (index .root.Values .store).auth -}}
{{- default (printf "%s-%s" (include "scheduler.fullname" .root) .store) $auth.existingSecret -}}
{{- end }}
