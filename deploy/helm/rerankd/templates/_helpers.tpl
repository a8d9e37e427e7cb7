{{- define "rerankd.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "rerankd.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "rerankd.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* Pod spec shared by instances and workers. Arguments: root context, values of the component, its name. */}}
{{- define "rerankd.pod" -}}
serviceAccountName: {{ include "rerankd.name" .root }}
automountServiceAccountToken: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with .part.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .part.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .part.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        app.kubernetes.io/name: {{ .root.Chart.Name }}
        app.kubernetes.io/instance: {{ .root.Release.Name }}
        app.kubernetes.io/component: {{ .name }}
volumes:
  - name: settings
    configMap: {name: {{ include "rerankd.name" .root }}}
  - name: state
    emptyDir: {sizeLimit: {{ .part.stateSize }}}
  - name: tmp
    emptyDir: {sizeLimit: 1Gi}
  {{- with .root.Values.keysSecretName }}
  - name: keys
    secret: {secretName: {{ . }}}
  {{- end }}
{{- end }}

{{- define "rerankd.container" -}}
image: {{ include "rerankd.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- with .root.Values.secretName }}
envFrom:
  - secretRef: {name: {{ . }}}
{{- end }}
resources: {{- toYaml .part.resources | nindent 2 }}
volumeMounts:
  - {name: settings, mountPath: /etc/rerankd, readOnly: true}
  - {name: state, mountPath: /var/lib/rerankd}
  - {name: tmp, mountPath: /tmp}
  {{- if .root.Values.keysSecretName }}
  - {name: keys, mountPath: /etc/rerankd-keys, readOnly: true}
  {{- end }}
{{- end }}

{{- define "rerankd.env" -}}
- {name: RERANKD_SHUTDOWN_SECONDS, value: {{ .part.shutdownSeconds | quote }}}
{{- with .root.Values.redis.queueUrl }}
- {name: RERANKD_QUEUE_URL, value: {{ . | quote }}}
{{- end }}
{{- with .root.Values.redis.cacheUrl }}
- {name: RERANKD_REDIS_URL, value: {{ . | quote }}}
{{- end }}
{{- with .part.env }}
{{ toYaml . }}
{{- end }}
{{- end }}
