{{/* Worker groups. */}}

{{/* All groups by name, merged with the defaults, as JSON. */}}
{{- define "scheduler.workerGroups" -}}
{{- $groups := dict -}}
{{- range $name, $group := .Values.workers -}}
{{- if not (kindIs "invalid" $group) -}}
{{- $_ := set $groups $name (mustMergeOverwrite (deepCopy $.Values.workerDefaults) (deepCopy $group)) -}}
{{- end -}}
{{- end -}}
{{- toJson $groups -}}
{{- end }}

{{/* Number of tasks per pod that autoscaling aims at. */}}
{{- define "scheduler.tasksPerPod" -}}
{{- max 1 (div (mul (int .slots) (int .autoscaling.targetSlotUtilization)) 100) -}}
{{- end }}

{{/* Grace period of a worker pod. After the drain timeout, a worker needs up to 7 s to hand tasks back, to settle and to
leave, or 13 s if both stores hang. The rest is a reserve for slow nodes. */}}
{{- define "scheduler.workerGraceSeconds" -}}
{{- add (int .drainSeconds) 15 -}}
{{- end }}

{{- define "scheduler.largestReplicas" -}}
{{- if eq .autoscaling.mode "none" }}{{ int .replicas }}{{ else }}{{ int .autoscaling.maxReplicas }}{{ end -}}
{{- end }}

{{/* Scaling behaviour, which HorizontalPodAutoscaler and KEDA share. */}}
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
