{{- define "gateway.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "gateway.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "gateway.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "gateway.selector" -}}
app.kubernetes.io/name: {{ include "gateway.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "gateway.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "gateway.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "gateway.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "gateway.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "gateway.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "gateway.configMap" -}}
{{- .Values.existingConfigMap | default (include "gateway.fullname" .) -}}
{{- end -}}

{{/* Whether sessions live in Redis: "true" or nothing. */}}
{{- define "gateway.redis" -}}
{{- $configured := dig "sessions" "store" "" .Values.config -}}
{{- if or .Values.redis.url .Values.redis.existingSecret .Values.redis.bundled.enabled (eq $configured "redis") .Values.existingConfigMap -}}
true
{{- end -}}
{{- end -}}

{{/* Whether more than one pod may run: "true" or nothing. */}}
{{- define "gateway.several" -}}
{{- if .Values.autoscaling.enabled -}}
{{- if gt (int .Values.autoscaling.maxReplicas) 1 }}true{{ end -}}
{{- else if gt (int .Values.replicaCount) 1 -}}
true
{{- end -}}
{{- end -}}

{{/* Seconds of a duration such as 250ms, 30s, 15m, 2h or 1d, rounded up. */}}
{{- define "gateway.seconds" -}}
{{- $number := float64 (regexFind "^[0-9.]+" .) -}}
{{- $unit := regexFind "[a-z]+$" . -}}
{{- $size := get (dict "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0 "d" 86400.0) $unit -}}
{{- mulf $number $size | ceil | int -}}
{{- end -}}

{{- define "gateway.gracePeriod" -}}
{{- $grace := dig "server" "shutdown_grace" "60s" .Values.config -}}
{{- $delay := dig "server" "shutdown_delay" "0s" .Values.config -}}
{{- $needed := add (int .Values.shutdown.preStopSeconds) (int (include "gateway.seconds" $delay)) (int (include "gateway.seconds" $grace)) -}}
{{- $given := .Values.shutdown.gracePeriodSeconds -}}
{{- if kindIs "invalid" $given -}}
{{- add $needed 10 -}}
{{- else -}}
{{- if lt (int $given) (int $needed) -}}
{{- fail (printf "shutdown.gracePeriodSeconds: %v s is shorter than shutdown.preStopSeconds and config.server.shutdown_grace together (%v s), so replies in progress would be cut." $given $needed) -}}
{{- end -}}
{{- int $given -}}
{{- end -}}
{{- end -}}

{{/* The gateway's configuration: what was given, and what only the chart knows. */}}
{{- define "gateway.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $server := merge (dict "host" "0.0.0.0" "port" 8080) (get $config "server" | default dict) -}}
{{- $_ := set $config "server" $server -}}
{{- with .Values.management.port -}}
{{- $_ := set $config "management" (merge (dict "port" (int .)) (get $config "management" | default dict)) -}}
{{- end -}}
{{- $sessions := get $config "sessions" | default dict -}}
{{- if include "gateway.redis" . -}}
{{- $redis := get $sessions "redis" | default dict -}}
{{- if ne .Values.redis.mode "single" -}}
{{- $_ := set $redis "mode" .Values.redis.mode -}}
{{- end -}}
{{- if eq .Values.redis.mode "sentinel" -}}
{{- $_ := set $redis "sentinel_master" .Values.redis.sentinelMaster -}}
{{- end -}}
{{- if or .Values.redis.url .Values.redis.existingSecret .Values.redis.bundled.enabled -}}
{{- $_ := set $redis "url" "${GATEWAY_REDIS_URL}" -}}
{{- end -}}
{{- $_ := set $sessions "redis" $redis -}}
{{- $_ := set $sessions "store" "redis" -}}
{{- else -}}
{{- $_ := set $sessions "store" "file" -}}
{{- $_ := set $sessions "file" (dict "directory" "/var/lib/gateway/sessions") -}}
{{- end -}}
{{- $_ := set $config "sessions" $sessions -}}
{{- if .Values.demo.enabled -}}
{{- $provider := dict "kind" "openai" "base_url" "http://127.0.0.1:9090/v1" "keys" (list "${DEMO_KEY:-demo}") -}}
{{- $_ := set $config "providers" (merge (dict "demo" $provider) (get $config "providers" | default dict)) -}}
{{- $model := dict "targets" (list (dict "provider" "demo" "model" "demo")) -}}
{{- $_ := set $config "models" (merge (dict "demo" $model) (get $config "models" | default dict)) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{/* What no schema can say. Each message names the values to change. */}}
{{- define "gateway.check" -}}
{{- if not .Values.existingConfigMap -}}
{{- if and (not (include "gateway.redis" .)) (include "gateway.several" .) -}}
{{- fail "Sessions in files are for one pod: set redis.url, redis.existingSecret or redis.bundled.enabled, or replicaCount=1 without autoscaling." -}}
{{- end -}}
{{- if and (eq (dig "auth" "mode" "keys" .Values.config) "keys") (not (dig "auth" "keys" list .Values.config)) -}}
{{- fail "config.auth.keys: there are no client keys; add some, or set config.auth.mode=none on purpose." -}}
{{- end -}}
{{- if not (or .Values.config.providers .Values.demo.enabled) -}}
{{- fail "config.providers: there is no provider; add one and a model in config.models, or set demo.enabled=true to try." -}}
{{- end -}}
{{- if and (eq (dig "sessions" "store" "" .Values.config) "file") (or .Values.redis.url .Values.redis.existingSecret .Values.redis.bundled.enabled) -}}
{{- fail "config.sessions.store: it is file, but redis is configured too; leave one of them out." -}}
{{- end -}}
{{- end -}}
{{- if and .Values.redis.bundled.enabled (or .Values.redis.url .Values.redis.existingSecret) -}}
{{- fail "redis.bundled.enabled: there is a Redis of your own too (redis.url or redis.existingSecret); choose one." -}}
{{- end -}}
{{- if and .Values.redis.bundled.enabled (ne .Values.redis.mode "single") -}}
{{- fail (printf "redis.mode: the bundled Redis is one server, not %s; bring your own with redis.existingSecret." .Values.redis.mode) -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- fail "ingress.hosts: name at least one host." -}}
{{- end -}}
{{- with .Values.management.ingress -}}
{{- if .enabled -}}
{{- if not .host -}}
{{- fail "management.ingress.host: management needs a host of its own." -}}
{{- end -}}
{{- if has .host $.Values.ingress.hosts -}}
{{- fail "management.ingress.host: it must not be a host of the API's ingress." -}}
{{- end -}}
{{- if not .allowList -}}
{{- fail "management.ingress.allowList: say which addresses may reach management, such as 10.0.0.0/8." -}}
{{- end -}}
{{- if hasKey .annotations .allowListAnnotation -}}
{{- fail (printf "management.ingress.annotations: %s is written from allowList; leave it out here." .allowListAnnotation) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.management.port (not .Values.existingConfigMap) -}}
{{- if not (or (dig "management" "key" "" .Values.config) (dig "management" "sha256" "" .Values.config)) -}}
{{- fail "management.port: there is no management without a key; set config.management.key to ${GATEWAY_MANAGEMENT_KEY}, and give that in a Secret." -}}
{{- end -}}
{{- end -}}
{{- if and .Values.management.port .Values.management.ingress.enabled .Values.networkPolicy.enabled (not .Values.networkPolicy.managementFrom) -}}
{{- fail "networkPolicy.managementFrom: nobody may reach management.port, so management.ingress could not either; name the ingress controller's pods." -}}
{{- end -}}
{{- with .Values.autoscaling -}}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) -}}
{{- fail "autoscaling.minReplicas: more than autoscaling.maxReplicas." -}}
{{- end -}}
{{- if and .enabled (not .targetCPUUtilizationPercentage) (not .customMetric.enabled) -}}
{{- fail "autoscaling: give targetCPUUtilizationPercentage or customMetric.enabled, or there is nothing to scale by." -}}
{{- end -}}
{{- end -}}
{{- if and (eq (toString .Values.strategy.maxSurge) "0") (eq (toString .Values.strategy.maxUnavailable) "0") -}}
{{- fail "strategy: maxSurge and maxUnavailable cannot both be 0." -}}
{{- end -}}
{{- end -}}
