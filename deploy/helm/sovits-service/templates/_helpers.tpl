{{- define "sovits.name" -}}
{{- $name := ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) (contains .Chart.Name .Release.Name) }}
{{- $name | trunc 53 | trimSuffix "-" }}
{{- end }}

{{- define "sovits.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "sovits.labels" -}}
{{ include "sovits.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "sovits.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Values.device }}
{{- end }}

{{- define "sovits.maxReplicas" -}}
{{- if .Values.ray.enabled }}{{ add .Values.ray.workers.max 1 }}{{ else if .Values.autoscaling.enabled }}{{ .Values.autoscaling.maxReplicas }}{{ else }}{{ .Values.replicas }}{{ end }}
{{- end }}

{{/* Combinations that would start and then fail, or mix what replicas should share. */}}
{{- define "sovits.validate" -}}
{{- if not (or .Values.secretName .Values.insecure) }}
{{- fail "secretName must name a Secret with SOVITS_API_KEYS (or set insecure: true to serve without API keys)" }}
{{- end }}
{{- if gt (include "sovits.maxReplicas" . | int) 1 }}
{{- if not .Values.shared.redis }}{{ fail "several replicas need shared.redis: true, so that they share results, limits and switches" }}{{ end }}
{{- if not .Values.shared.s3.enabled }}{{ fail "several replicas need shared.s3.enabled: true, so that they share uploads, voices and links" }}{{ end }}
{{- if and (not .Values.weights.existingClaim) (has "ReadWriteOnce" .Values.weights.accessModes) }}
{{- fail "several replicas need weights.existingClaim, or weights.accessModes: [ReadWriteMany]" }}
{{- end }}
{{- end }}
{{- if and .Values.shared.redis (not .Values.secretName) }}{{ fail "shared.redis needs secretName: a Secret with SOVITS_CACHE__REDIS_URL" }}{{ end }}
{{- if and .Values.shared.s3.enabled (not .Values.shared.s3.bucket) }}{{ fail "shared.s3.bucket is empty" }}{{ end }}
{{- if and .Values.ray.enabled .Values.autoscaling.enabled }}{{ fail "autoscaling is for replicas without Ray; with ray.enabled set ray.workers" }}{{ end }}
{{- if and .Values.autoscaling.enabled (eq .Values.autoscaling.source "keda") (not .Values.autoscaling.prometheusUrl) }}
{{- fail "autoscaling.source: keda needs autoscaling.prometheusUrl" }}
{{- end }}
{{- if and .Values.voices.existingClaim .Values.voices.configMap }}{{ fail "voices: name existingClaim or configMap, not both" }}{{ end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) }}{{ fail "ingress.host is empty" }}{{ end }}
{{- end }}

{{/* configs/service.yaml: what the other values imply, under what `settings` says. */}}
{{- define "sovits.settings" -}}
{{- $implied := dict "drain_s" (.Values.drainSeconds | float64) }}
{{- if .Values.shared.redis }}{{- $_ := set $implied "cache" (dict "backend" "redis") }}{{ end }}
{{- with .Values.shared.s3 }}
{{- if .enabled }}
{{- $_ := set $implied "objects" (dict "backend" "s3" "share_voices" true "bucket" .bucket "endpoint_url" .endpointUrl "public_url" .publicUrl "region" .region) }}
{{- end }}
{{- end }}
{{- if .Values.ingress.enabled }}{{- $_ := set $implied "allowed_hosts" (list .Values.ingress.host) }}{{ end }}
{{- mergeOverwrite $implied (deepCopy .Values.settings) | toYaml }}
{{- end }}

{{- define "sovits.environment" -}}
- {name: HOME, value: /tmp}
- {name: SOVITS_HOST, value: "0.0.0.0"}
- {name: SOVITS_PORT, value: "9880"}
- {name: SOVITS_LOG_FORMAT, value: json}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "sovits.mounts" -}}
- {name: config, mountPath: /app/configs, readOnly: true}
- {name: weights, mountPath: /app/pretrained_models{{ if not .Values.weights.download }}, readOnly: true{{ end }}}
- {name: voices, mountPath: /app/voices{{ if .Values.voices.configMap }}, readOnly: true{{ end }}}
- {name: uploads, mountPath: /app/uploads}
- {name: jobs, mountPath: /app/jobs}
- {name: cache, mountPath: /app/cache}
- {name: objects, mountPath: /app/objects}
- {name: tmp, mountPath: /tmp}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The pod of a replica, or of a Ray cluster: its specification but for account and containers. */}}
{{- define "sovits.pod" -}}
# Kubernetes would add SOVITS_... variables for a Service of that name, and the service refuses variables it does not know.
enableServiceLinks: false
securityContext:
  {{- $default := dict "runAsNonRoot" true "runAsUser" 10001 "runAsGroup" 10001 "fsGroup" 10001 "fsGroupChangePolicy" "OnRootMismatch" "seccompProfile" (dict "type" "RuntimeDefault") }}
  {{- mergeOverwrite $default (deepCopy .Values.podSecurityContext) | toYaml | nindent 2 }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if and (eq .Values.device "cuda") .Values.gpu.runtimeClassName }}
runtimeClassName: {{ .Values.gpu.runtimeClassName }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.topologySpreadConstraints }}
topologySpreadConstraints: {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  - name: config
    configMap: {name: {{ include "sovits.name" . }}}
  - name: weights
    persistentVolumeClaim: {claimName: {{ .Values.weights.existingClaim | default (printf "%s-weights" (include "sovits.name" .)) }}}
  - name: voices
    {{- if .Values.voices.existingClaim }}
    persistentVolumeClaim: {claimName: {{ .Values.voices.existingClaim }}}
    {{- else if .Values.voices.configMap }}
    configMap: {name: {{ .Values.voices.configMap }}}
    {{- else }}
    emptyDir: {}
    {{- end }}
  - name: uploads
    {{- if .Values.uploads.existingClaim }}
    persistentVolumeClaim: {claimName: {{ .Values.uploads.existingClaim }}}
    {{- else }}
    emptyDir: {}
    {{- end }}
  - name: jobs
    {{- if .Values.jobs.existingClaim }}
    persistentVolumeClaim: {claimName: {{ .Values.jobs.existingClaim }}}
    {{- else }}
    emptyDir: {sizeLimit: {{ .Values.cache.size }}}
    {{- end }}
  - name: cache
    emptyDir: {sizeLimit: {{ .Values.cache.size }}}
  - name: objects
    emptyDir: {sizeLimit: {{ .Values.cache.size }}}
  - name: tmp
    emptyDir: {}
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "sovits.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "sovits.resources" -}}
{{- $resources := deepCopy .Values.resources }}
{{- if eq .Values.device "cuda" }}
{{- $limits := mergeOverwrite (dict .Values.gpu.resource 1) ($resources.limits | default dict) }}
{{- $_ := set $resources "limits" $limits }}
{{- end }}
{{- toYaml $resources }}
{{- end }}

{{/* configs/ray.yaml: an engine for each worker, and an ingress beside each. */}}
{{- define "sovits.rayOptions" -}}
{{- $gpus := ternary 1 0 (eq .Values.device "cuda") }}
{{- $engine := dict "cpus" 2 "gpus" $gpus "min_replicas" .Values.ray.workers.min "max_replicas" .Values.ray.workers.max }}
{{- mergeOverwrite (dict "engine" $engine) (deepCopy .Values.ray.options) | toYaml }}
{{- end }}

{{/* A container of the Ray cluster; KubeRay adds the command. Its own probes ask with wget, which the image lacks. */}}
{{- define "sovits.rayContainer" -}}
image: {{ include "sovits.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
env: {{- include "sovits.environment" . | nindent 2 }}
  - {name: RAY_USAGE_STATS_ENABLED, value: "0"}
  - {name: RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH, value: sovits_service.ray_serve.proxy.middlewares}
  - {name: RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S, value: "2"}
{{- with .Values.secretName }}
envFrom:
  - secretRef: {name: {{ . }}}
{{- end }}
livenessProbe:
  httpGet: {path: /api/local_raylet_healthz, port: 52365}
  initialDelaySeconds: 30
  periodSeconds: 15
  timeoutSeconds: 5
  failureThreshold: 8
securityContext: {{- include "sovits.containerSecurity" . | nindent 2 }}
volumeMounts: {{- include "sovits.mounts" . | nindent 2 }}
  - {name: shm, mountPath: /dev/shm}
{{- end }}

{{- define "sovits.rayShm" -}}
- name: shm
  emptyDir: {medium: Memory, sizeLimit: 1Gi}
{{- end }}
