{{/* PromQL that more than one object needs. */}}

{{/*
The demand: tasks that are ready, due or in flight; the one signal for autoscaling. `max` because every API replica
exports the same gauge, and an autoscaler adds up all series. A queue that is not there yet, or no more, has a demand of 0,
which is known as long as any queue is exported; but not where some are summed up as `other`: it may be one of these. Takes
root, namespace, release and queues (a regular expression); adapter rule, KEDA, dashboards, alerts and docs all have it from this file.
*/}}
{{- define "scheduler.demandQuery" -}}
{{- .root.Files.Get "files/demand.promql" | trim | replace "%NAMESPACE%" .namespace | replace "%RELEASE%" .release | replace "%QUEUES%" .queues -}}
{{- end }}

{{/* The queues of a group as a regular expression, fit for a text in PromQL. */}}
{{- define "scheduler.queuesRegex" -}}
{{- $escaped := list -}}
{{- range .queues -}}
{{- $escaped = append $escaped (regexQuoteMeta . | replace "\\" "\\\\") -}}
{{- end -}}
{{- join "|" $escaped -}}
{{- end }}

{{/* Series of one component of this release, whatever found the pods. Takes root and component. */}}
{{- define "scheduler.seriesOf" -}}
namespace="{{ .root.Release.Namespace }}",pod=~"{{ include "scheduler.fullname" .root }}-{{ .component }}-.+"
{{- end }}

{{/* Labels of an alert: those of two releases must not be one, and Alertmanager's routes of a namespace ask for its name. */}}
{{- define "scheduler.alertLabels" -}}
{{- dict "severity" .severity "namespace" .root.Release.Namespace "release" (include "scheduler.fullname" .root) | toJson -}}
{{- end }}

{{/*
True while the last good pass is longer ago than that. There is no time of it before the first one: then it counts from
the start of the oldest API process. Takes api (matchers), role and seconds.
*/}}
{{- define "scheduler.sinceSweep" -}}
time() - max(scheduler_reclaimer_last_success_timestamp_seconds{ {{- .api -}} ,role="{{ .role }}"}) > {{ .seconds }}
or (time() - min(process_start_time_seconds{ {{- .api -}} }) > {{ .seconds }})
unless on () scheduler_reclaimer_last_success_timestamp_seconds{ {{- .api -}} ,role="{{ .role }}"}
{{- end }}

{{/* Name under which the metrics adapter serves the demand, and what a Deployment's autoscaler asks it for. */}}
{{- define "scheduler.externalMetric" -}}
name: scheduler_demand
selector:
  matchLabels: {release: {{ include "scheduler.fullname" .root | quote }}}
  matchExpressions: [{key: queue, operator: In, values: {{ .group.queues | toJson }}}]
{{- end }}
