{{/* PromQL parts that several objects use. */}}

{{/*
The demand: the number of tasks that are ready, due or in flight. Autoscaling on demand uses no other signal. The query
uses `max` because every API replica exports the same gauge, and an autoscaler adds up all series. A queue that does not
exist has a demand of 0 as long as any queue is exported. If some queues are summed up as `other`, its demand is unknown,
because it may be one of them. Takes root, namespace, release and queues (a regular expression). Adapter rule, KEDA,
dashboards, alerts and docs all use the query of files/demand.promql.
*/}}
{{- define "scheduler.demandQuery" -}}
{{- .root.Files.Get "files/demand.promql" | trim | replace "%NAMESPACE%" .namespace | replace "%RELEASE%" .release | replace "%QUEUES%" .queues -}}
{{- end }}

{{/* The queues of a group as a regular expression, escaped for a string in PromQL. */}}
{{- define "scheduler.queuesRegex" -}}
{{- $escaped := list -}}
{{- range .queues -}}
{{- $escaped = append $escaped (regexQuoteMeta . | replace "\\" "\\\\") -}}
{{- end -}}
{{- join "|" $escaped -}}
{{- end }}

{{/* Matchers for the series of one component of this release. They work with every way of discovering the pods. Takes
root and component. */}}
{{- define "scheduler.seriesOf" -}}
namespace="{{ .root.Release.Namespace }}",pod=~"{{ include "scheduler.fullname" .root }}-{{ .component }}-.+"
{{- end }}

{{/* Labels of an alert. Namespace and release keep the alerts of two releases apart, and Alertmanager's routes of a
namespace match on the label `namespace`. */}}
{{- define "scheduler.alertLabels" -}}
{{- dict "severity" .severity "namespace" .root.Release.Namespace "release" (include "scheduler.fullname" .root) | toJson -}}
{{- end }}

{{/*
True if the last successful pass is longer ago than the given seconds. Before the first pass, the query counts from the
start of the oldest API process. Takes api (matchers), role and seconds.
*/}}
{{- define "scheduler.sinceSweep" -}}
time() - max(scheduler_reclaimer_last_success_timestamp_seconds{ {{- .api -}} ,role="{{ .role }}"}) > {{ .seconds }}
or (time() - min(process_start_time_seconds{ {{- .api -}} }) > {{ .seconds }})
unless on () scheduler_reclaimer_last_success_timestamp_seconds{ {{- .api -}} ,role="{{ .role }}"}
{{- end }}

{{/* Name and selector with which the autoscaler of a Deployment asks the metrics adapter for the demand. */}}
{{- define "scheduler.externalMetric" -}}
name: scheduler_demand
selector:
  matchLabels: {release: {{ include "scheduler.fullname" .root | quote }}}
  matchExpressions: [{key: queue, operator: In, values: {{ .group.queues | toJson }}}]
{{- end }}
