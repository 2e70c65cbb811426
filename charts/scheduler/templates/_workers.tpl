{{/* Worker groups. */}}

{{/* All groups by name, complete with the defaults, as JSON. */}}
{{- define "scheduler.workerGroups" -}}
{{- $groups := dict -}}
{{- range $name, $group := .Values.workers -}}
{{- if not (kindIs "invalid" $group) -}}
{{- $_ := set $groups $name (mustMergeOverwrite (deepCopy $.Values.workerDefaults) (deepCopy $group)) -}}
{{- end -}}
{{- end -}}
{{- toJson $groups -}}
{{- end }}

{{/* The other numbers of a group follow from these two: slots and the drain time-out. */}}

{{/* Tasks a pod that autoscaling aims at. */}}
{{- define "scheduler.tasksPerPod" -}}
{{- max 1 (div (mul (int .slots) (int .autoscaling.targetSlotUtilization)) 100) -}}
{{- end }}

{{/* After the drain time-out, a worker takes up to 7 s to hand tasks back, settle and leave, 13 s if both stores hang; the rest is for a slow node. */}}
{{- define "scheduler.workerGraceSeconds" -}}
{{- add (int .drainSeconds) 15 -}}
{{- end }}

{{- define "scheduler.largestReplicas" -}}
{{- if eq .autoscaling.mode "none" }}{{ int .replicas }}{{ else }}{{ int .autoscaling.maxReplicas }}{{ end -}}
{{- end }}

{{/* Scaling of both kinds of autoscaler. */}}
{{- define "scheduler.scalingBehavior" -}}
scaleUp:
  stabilizationWindowSeconds: 0
  selectPolicy: Max
  policies:
    - {type: Percent, value: 100, periodSeconds: 15}
    - {type: Pods, value: {{ int .autoscaling.scaleUpPods }}, periodSeconds: 15}
scaleDown:
  stabilizationWindowSeconds: {{ int .autoscaling.scaleDownStabilizationSeconds }}
  policies:
    - {type: Pods, value: {{ int .autoscaling.scaleDownPods }}, periodSeconds: {{ int .autoscaling.scaleDownPeriodSeconds }}}
{{- end }}
