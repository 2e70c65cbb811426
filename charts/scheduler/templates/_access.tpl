{{/* Who may use the API, and where workers may send requests: settings, and files that pods get. */}}

{{/* What the chart can say of a client, by the name of its value. The files below CLIENTS_DIR have the names on the right. */}}
{{- define "scheduler.clientTerms" -}}
{{- dict "role" "role" "scopes" "scopes" "queues" "queues" "actions" "actions" "ratePerMinute" "rate" "burst" "burst"
  "unfinishedMax" "unfinished-max" "delayMax" "delay-max" "timeoutMax" "timeout-max" "note" "note" | toJson -}}
{{- end }}

{{/* Files of the clients that are no secrets, as JSON: a map from keys of the ConfigMap to their texts. */}}
{{- define "scheduler.clientFiles" -}}
{{- $files := dict -}}
{{- $terms := include "scheduler.clientTerms" . | fromJson -}}
{{- range $name, $client := .Values.auth.clients -}}
{{- range $value, $file := $terms -}}
{{- $given := get $client $value -}}
{{- if kindIs "slice" $given -}}{{- $given = join "," $given -}}{{- end -}}
{{- if $given -}}{{- $_ := set $files (printf "%s.%s" $name $file) (include "scheduler.text" $given) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $files -}}
{{- end }}

{{/*
Volumes with files that a component reads, as JSON: a map from the volume's name to its mount path and its sources, in
the format of a projected volume. The kubelet replaces the files when an object changes. Takes root and component.
*/}}
{{- define "scheduler.componentFiles" -}}
{{- $v := .root.Values -}}
{{- $full := include "scheduler.fullname" .root -}}
{{- $volumes := dict -}}
{{- if and (eq .component "api") (eq $v.auth.mode "keys") $v.auth.clients -}}
{{- $sources := list -}}
{{- range $name, $client := $v.auth.clients -}}
{{- $items := list (dict "key" ($client.secretKey | default "secret") "path" (printf "%s/secret" $name)) -}}
{{- $sources = append $sources (dict "secret" (dict "name" $client.existingSecret "items" $items)) -}}
{{- with $client.nextSecretKey -}}
{{- /* The Secret has this key only while its text is being replaced. */ -}}
{{- $sources = append $sources (dict "secret" (dict "name" $client.existingSecret "optional" true
  "items" (list (dict "key" . "path" (printf "%s/secret-next" $name))))) -}}
{{- end -}}
{{- end -}}
{{- $items := list -}}
{{- range $key, $text := include "scheduler.clientFiles" .root | fromJson -}}
{{- $file := splitList "." $key | last -}}
{{- $items = append $items (dict "key" $key "path" (printf "%s/%s" (trimSuffix (printf ".%s" $file) $key) $file)) -}}
{{- end -}}
{{- with $items -}}
{{- $sources = append $sources (dict "configMap" (dict "name" (printf "%s-clients" $full) "items" .)) -}}
{{- end -}}
{{- $_ := set $volumes "clients" (dict "mountPath" "/etc/scheduler/clients" "sources" $sources) -}}
{{- end -}}
{{- if and (eq .component "api") $v.auth.oidc.issuer -}}
{{- $oidc := $v.auth.oidc -}}
{{- $sources := list -}}
{{- with $oidc.clientSecret.existingSecret -}}
{{- $sources = append $sources (dict "secret" (dict "name" . "items" (list (dict "key" $oidc.clientSecret.key "path" "client-secret")))) -}}
{{- end -}}
{{- with $oidc.certificates.existingSecret -}}
{{- $sources = append $sources (dict "secret" (dict "name" . "items" (list (dict "key" $oidc.certificates.key "path" "ca.crt")))) -}}
{{- end -}}
{{- with $sources -}}{{- $_ := set $volumes "oidc" (dict "mountPath" "/etc/scheduler/oidc" "sources" .) -}}{{- end -}}
{{- end -}}
{{- if and (eq .component "worker") $v.httpRequest.secrets -}}
{{- $sources := list -}}
{{- $items := list -}}
{{- range $name, $secret := $v.httpRequest.secrets -}}
{{- $sources = append $sources (dict "secret" (dict "name" $secret.existingSecret "items" (list (dict "key" ($secret.key | default "value") "path" (printf "%s/value" $name))))) -}}
{{- $items = append $items (dict "key" $name "path" (printf "%s/targets" $name)) -}}
{{- end -}}
{{- $sources = append $sources (dict "configMap" (dict "name" (printf "%s-http-targets" $full) "items" $items)) -}}
{{- $_ := set $volumes "http-secrets" (dict "mountPath" "/etc/scheduler/http-secrets" "sources" $sources) -}}
{{- end -}}
{{- if and (eq .component "worker") $v.httpRequest.signing.existingSecret -}}
{{- $signing := $v.httpRequest.signing -}}
{{- $_ := set $volumes "signing-secret" (dict "mountPath" "/etc/scheduler/signing" "sources" (list
  (dict "secret" (dict "name" $signing.existingSecret "items" (list (dict "key" $signing.key "path" "secret")))))) -}}
{{- end -}}
{{- if and (eq .component "test") (eq $v.auth.mode "keys") $v.helmTest.client -}}
{{- $client := index $v.auth.clients $v.helmTest.client -}}
{{- $_ := set $volumes "client" (dict "mountPath" "/etc/scheduler/client" "sources" (list
  (dict "secret" (dict "name" $client.existingSecret "items" (list (dict "key" ($client.secretKey | default "secret") "path" "secret")))))) -}}
{{- end -}}
{{- toJson $volumes -}}
{{- end }}

{{/* Host names under which requests without a secret may reach the API: those of its Service, its Ingress and its routes. */}}
{{- define "scheduler.allowedHosts" -}}
{{- $service := printf "%s-api" (include "scheduler.fullname" .) -}}
{{- $namespace := .Release.Namespace -}}
{{- $hosts := list $service (printf "%s.%s" $service $namespace) (printf "%s.%s.svc" $service $namespace) (printf "%s.%s.svc.cluster.local" $service $namespace) -}}
{{- if .Values.api.ingress.enabled -}}{{- $hosts = concat $hosts .Values.api.ingress.hosts -}}{{- end -}}
{{- if .Values.api.httpRoute.enabled -}}{{- $hosts = concat $hosts .Values.api.httpRoute.hostnames -}}{{- end -}}
{{- concat $hosts .Values.api.allowedHosts | uniq | join "," -}}
{{- end }}

{{/* Settings of the API about access and privacy, as JSON. */}}
{{- define "scheduler.accessEnv" -}}
{{- $env := dict "AUTH" .Values.auth.mode "ALLOWED_HOSTS" (include "scheduler.allowedHosts" .) "API_METRICS_PORT" 9464 -}}
{{- if hasKey (include "scheduler.componentFiles" (dict "root" . "component" "api") | fromJson) "clients" -}}
{{- $_ := set $env "CLIENTS_DIR" "/etc/scheduler/clients" -}}
{{- end -}}
{{- with .Values.privacy.redactedFields -}}{{- $_ := set $env "REDACTED_FIELDS" (toJson .) -}}{{- end -}}
{{- with .Values.privacy.privateMetadata -}}{{- $_ := set $env "PRIVATE_METADATA" (join "," .) -}}{{- end -}}
{{- with .Values.publicUrl -}}{{- $_ := set $env "PUBLIC_URL" . -}}{{- end -}}
{{- toJson (merge $env (include "scheduler.oidcEnv" . | fromJson)) -}}
{{- end }}

{{/* Settings of the API about the OpenID Connect provider, as JSON. */}}
{{- define "scheduler.oidcEnv" -}}
{{- $oidc := .Values.auth.oidc -}}
{{- $env := dict -}}
{{- if $oidc.issuer -}}
{{- $env = dict "OIDC_ISSUER" $oidc.issuer "OIDC_CLIENT_ID" $oidc.clientId "OIDC_GRANTS" (toJson $oidc.grants)
  "OIDC_SCOPES" (join " " $oidc.scopes) "OIDC_ALGORITHMS" (join "," $oidc.algorithms)
  "OIDC_GRANTS_CLAIM" $oidc.grantsClaim "OIDC_NAME_CLAIM" $oidc.nameClaim -}}
{{- if $oidc.clientSecret.existingSecret -}}{{- $_ := set $env "OIDC_CLIENT_SECRET_FILE" "/etc/scheduler/oidc/client-secret" -}}{{- end -}}
{{- if $oidc.certificates.existingSecret -}}{{- $_ := set $env "OIDC_CA_FILE" "/etc/scheduler/oidc/ca.crt" -}}{{- end -}}
{{- with $oidc.audience -}}{{- $_ := set $env "OIDC_AUDIENCE" . -}}{{- end -}}
{{- end -}}
{{- toJson $env -}}
{{- end }}

{{/* Port of the OpenID Connect provider. */}}
{{- define "scheduler.oidcPort" -}}
{{- regexFind ":[0-9]+$" (urlParse .Values.auth.oidc.issuer).host | trimPrefix ":" | default "443" -}}
{{- end }}

{{/* Settings of workers about `http.request`, as JSON. */}}
{{- define "scheduler.httpRequestEnv" -}}
{{- $request := .Values.httpRequest -}}
{{- $env := dict -}}
{{- /* All servers are the default of the processes. A text `*` in the manifests would look like rights on everything. */ -}}
{{- if ne (join "," $request.targets) "*" -}}{{- $_ := set $env "HTTP_TARGETS" (join "," $request.targets | default "off") -}}{{- end -}}
{{- if $request.secrets -}}{{- $_ := set $env "HTTP_SECRETS_DIR" "/etc/scheduler/http-secrets" -}}{{- end -}}
{{- if $request.signing.existingSecret -}}{{- $_ := set $env "HTTP_SIGNING_SECRET_FILE" "/etc/scheduler/signing/secret" -}}{{- end -}}
{{- toJson $env -}}
{{- end }}

{{/* Fails if the values about the OpenID Connect provider contradict each other. */}}
{{- define "scheduler.validateOidc" -}}
{{- $oidc := .Values.auth.oidc -}}
{{- if not $oidc.issuer -}}
{{- range $name, $given := dict "clientId" $oidc.clientId "clientSecret.existingSecret" $oidc.clientSecret.existingSecret "grants" $oidc.grants "audience" $oidc.audience "certificates.existingSecret" $oidc.certificates.existingSecret -}}
{{- if $given -}}
{{- fail (printf "auth.oidc.%s has no effect without auth.oidc.issuer, the provider: set it, or remove auth.oidc.%s." $name $name) -}}
{{- end -}}
{{- end -}}
{{- else -}}
{{- if eq .Values.auth.mode "open" -}}
{{- fail "auth.oidc.issuer has no effect with auth.mode=open, in which nobody has to say who they are: set auth.mode=keys, or remove auth.oidc." -}}
{{- end -}}
{{- if not $oidc.clientId -}}
{{- fail "auth.oidc.issuer needs auth.oidc.clientId, the name under which the provider knows the scheduler." -}}
{{- end -}}
{{- if not $oidc.grants -}}
{{- fail "auth.oidc.issuer needs auth.oidc.grants: without them, nobody who logs in may do anything." -}}
{{- end -}}
{{- if not .Values.publicUrl -}}
{{- fail "auth.oidc.issuer needs publicUrl, the address to which the provider sends browsers back." -}}
{{- end -}}
{{- $taken := dict -}}
{{- range $index, $grant := $oidc.grants -}}
{{- $place := printf "auth.oidc.grants[%d] (%s)" $index $grant.value -}}
{{- if and $grant.role $grant.scopes -}}
{{- fail (printf "%s has both role and scopes: keep one of them." $place) -}}
{{- end -}}
{{- if not (or $grant.role $grant.scopes) -}}
{{- fail (printf "%s needs role or scopes, which say what people may do." $place) -}}
{{- end -}}
{{- if hasKey $taken $grant.value -}}
{{- fail (printf "%s has the same value as auth.oidc.grants[%d]: only the first one would count." $place (get $taken $grant.value)) -}}
{{- end -}}
{{- $_ := set $taken $grant.value $index -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Fails if the values about clients contradict each other. */}}
{{- define "scheduler.validateAccess" -}}
{{- $clients := .Values.auth.clients -}}
{{- if and (eq .Values.auth.mode "open") $clients -}}
{{- fail "auth.clients has no effect with auth.mode=open, in which everybody may do everything: set auth.mode=keys, or remove the clients." -}}
{{- end -}}
{{- $taken := dict -}}
{{- range $name, $client := $clients -}}
{{- if eq $name "self" -}}
{{- fail "auth.clients.self: `self` stands for the client of a request; choose another name." -}}
{{- end -}}
{{- if and $client.role $client.scopes -}}
{{- fail (printf "auth.clients.%s has both role and scopes: keep one of them." $name) -}}
{{- end -}}
{{- if not (or $client.role $client.scopes) -}}
{{- fail (printf "auth.clients.%s needs role or scopes, which say what the client may do." $name) -}}
{{- end -}}
{{- range compact (list ($client.secretKey | default "secret") ($client.nextSecretKey | default "")) -}}
{{- $place := printf "%s in the Secret %s" . $client.existingSecret -}}
{{- if hasKey $taken $place -}}
{{- fail (printf "auth.clients.%s and auth.clients.%s both use %s: a secret belongs to one client, and is replaced by another one." (get $taken $place) $name $place) -}}
{{- end -}}
{{- $_ := set $taken $place $name -}}
{{- end -}}
{{- end -}}
{{- with .Values.helmTest.client -}}
{{- if not (hasKey $clients .) -}}
{{- fail (printf "helmTest.client=%s: expected one of auth.clients (%s)." . (keys $clients | sortAlpha | join ", " | default "there are none")) -}}
{{- end -}}
{{- $client := index $clients . -}}
{{- $scopes := $client.scopes | default list -}}
{{- if not (or (has $client.role (list "submitter" "admin")) (and (has "submit" $scopes) (has "read" $scopes))) -}}
{{- fail (printf "helmTest.client=%s: the test submits a task and reads it, and auth.clients.%s may not: give it the role submitter, or choose another client." . .) -}}
{{- end -}}
{{- $queue := include "scheduler.testQueue" $ -}}
{{- $serves := not $client.queues -}}
{{- range $client.queues -}}
{{- $serves = or $serves (eq . $queue) (eq . "*") (and (hasSuffix ".*" .) (hasPrefix (trimSuffix "*" .) $queue)) -}}
{{- end -}}
{{- if not $serves -}}
{{- fail (printf "helmTest.client=%s: the queue of the test is %q, which auth.clients.%s may not use: set helmTest.queue to one of its queues, or choose another client." . $queue .) -}}
{{- end -}}
{{- end -}}
{{- end }}
