{{/* Everything about one model, out of `workers` and what the model says anew. Arguments: context, name. Gives JSON. */}}
{{- define "tessera.model" -}}
{{- $values := .context.Values -}}
{{- $model := include "tessera.merge" (dict "base" $values.workers "prefer" (index $values.models .name | default dict)) | fromJson -}}
{{- $at := printf "models.%s" .name -}}
{{- $gpus := mul $model.tensorParallel $model.pipelineParallel | int -}}
{{- $hosts := int $model.hostsPerReplica -}}
{{- if not $model.gpuResource -}}
{{- if gt $gpus 1 }}{{ fail (printf "%s: tensorParallel and pipelineParallel split an engine over GPUs, and gpuResource is empty." $at) }}{{ end -}}
{{- $gpus = 0 -}}
{{- end -}}
{{- if gt $hosts 1 -}}
{{- if ne $model.runtime "rayservice" }}{{ fail (printf "%s.hostsPerReplica: an engine on several machines needs runtime: rayservice." $at) }}{{ end -}}
{{- if or (lt $gpus $hosts) (mod $gpus $hosts) }}{{ fail (printf "%s.hostsPerReplica: %d GPUs cannot be shared evenly by %d pods." $at $gpus $hosts) }}{{ end -}}
{{- end -}}
{{- if and $model.autoscaling.enabled (ne $model.runtime "deployment") }}{{ fail (printf "%s.autoscaling: KEDA scales workers of runtime: deployment only." $at) }}{{ end -}}
{{- if and $model.cache.enabled $model.cache.fill (not $model.model) }}{{ fail (printf "%s.model: name it, so that the cache can be filled." $at) }}{{ end -}}
{{- $name := printf "%s-%s" (include "tessera.fullname" .context) .name -}}
{{- if gt (len $name) 41 }}{{ fail (printf "models: %q is too long: names of Ray clusters have at most 41 characters." $name) }}{{ end -}}
{{- $arguments := $model.engineArgs -}}
{{- if gt (int $model.tensorParallel) 1 }}{{ $arguments = append $arguments (printf "--tensor-parallel-size=%d" (int $model.tensorParallel)) }}{{ end -}}
{{- if gt (int $model.pipelineParallel) 1 }}{{ $arguments = append $arguments (printf "--pipeline-parallel-size=%d" (int $model.pipelineParallel)) }}{{ end -}}
{{- if gt $hosts 1 }}{{ $arguments = append $arguments "--distributed-executor-backend=ray" }}{{ end -}}
{{- $quoted := list -}}
{{- range $arguments }}{{ $quoted = append $quoted (printf "'%s'" (. | replace "'" "'\\''")) }}{{ end -}}
{{- $own := merge (dict) $model.settings (dict "engine" $model.engine "drain_timeout_s" (int $model.drainTimeoutSeconds)) -}}
{{- with $model.model }}{{ $_ := set $own "model" . }}{{ end -}}
{{- with $model.servedName }}{{ $_ := set $own "served_model_name" . }}{{ end -}}
{{- with $quoted }}{{ $_ := set $own "engine_args" (join " " .) }}{{ end -}}
{{- $_ := set $own "gpus_per_replica" $gpus -}}
{{- if gt $hosts 1 }}{{ $_ := set $own "gpus_across_nodes" true }}{{ end -}}
{{- $_ := set $model "fullname" $name -}}
{{- $_ := set $model "key" .name -}}
{{- $_ := set $model "gpusPerPod" (div $gpus $hosts) -}}
{{- $_ := set $model "own" $own -}}
{{- $model | toJson -}}
{{- end }}

{{- define "tessera.workerSelector" -}}
{{ include "tessera.selector" (dict "context" .context "component" "worker") }}
tessera.dev/model: {{ .model.key }}
{{- end }}

{{- define "tessera.workerLabels" -}}
{{ include "tessera.labels" (dict "context" .context "component" "worker") }}
tessera.dev/model: {{ .model.key }}
{{- end }}

{{- define "tessera.workerResources" -}}
{{- $gpus := .model.gpusPerPod | int -}}
{{- range $kind := list "requests" "limits" }}
{{ $kind }}:
  {{- with index $.model.resources $kind }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- if $gpus }}
  {{ $.model.gpuResource }}: {{ $gpus | quote }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Environment of a container with a worker's image. Arguments: context, model, settings. */}}
{{- define "tessera.workerEnv" -}}
{{ include "tessera.redisEnv" .context | trim }}
- {name: HOME, value: /home/tessera}
- {name: TESSERA_LOG_FORMAT, value: json}
- {name: TESSERA_WORKER_FOLDER, value: /tmp/tessera}
- {name: RAY_USAGE_STATS_ENABLED, value: "0"}
- {name: RAY_worker_niceness, value: "0"}
- {name: RAY_kill_child_processes_on_worker_exit_with_raylet_subreaper, value: "true"}
- {name: RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO, value: "0"}
{{ include "tessera.hubEnv" . | trim }}
{{- include "tessera.settings" .settings }}
{{- end }}

{{- define "tessera.hubEnv" -}}
- {name: HF_HOME, value: /models}
- {name: HF_HUB_OFFLINE, value: {{ .model.hub.online | ternary "0" "1" | quote }}}
{{- with .model.hub.tokenSecret }}
- name: HF_TOKEN
  valueFrom: {secretKeyRef: {name: {{ . }}, key: {{ $.model.hub.tokenKey }}}}
{{- end }}
{{- end }}

{{- define "tessera.workerMounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: home, mountPath: /home/tessera}
- {name: shm, mountPath: /dev/shm}
- {name: models, mountPath: /models}
{{- include "tessera.redisCaMount" .context }}
{{- end }}

{{- define "tessera.workerVolumes" -}}
- name: tmp
  emptyDir: {sizeLimit: {{ .model.scratch }}}
- name: home
  emptyDir: {sizeLimit: {{ .model.scratch }}}
- name: shm
  emptyDir: {medium: Memory, sizeLimit: {{ .model.sharedMemory }}}
- name: models
  {{- if .model.cache.enabled }}
  persistentVolumeClaim: {claimName: {{ .model.cache.existingClaim | default (printf "%s-models" .model.fullname) }}}
  {{- else }}
  emptyDir: {}
  {{- end }}
{{- include "tessera.redisCaVolume" .context }}
{{- end }}

{{/* What pods have around their containers. */}}
{{- define "tessera.workerPod" -}}
serviceAccountName: {{ .serviceAccount }}
enableServiceLinks: false
securityContext: {{- include "tessera.podSecurity" .context | nindent 2 }}
{{- with .context.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .model.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{/* Where engines run. */}}
{{- define "tessera.workerPlace" -}}
{{- with .model.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .model.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .model.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .model.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
