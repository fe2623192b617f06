{{/* Names and labels. */}}
{{- define "oust.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{- end -}}
{{- end }}

{{- define "oust.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end }}

{{- define "oust.labels" -}}
{{ include "oust.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "oust.image" -}}
{{- $image := .root.Values.image -}}
{{- $own := index .root.Values .role -}}
{{- $repository := required "image.repository is required: where you pushed the image of deploy/Dockerfile" $image.repository -}}
{{- if $own.tag -}}{{ $repository }}:{{ $own.tag }}
{{- else if $image.digest -}}{{ $repository }}@{{ $image.digest }}
{{- else -}}{{ $repository }}:{{ $image.tag | default .root.Chart.AppVersion }}{{- end -}}
{{- end }}

{{/*
oust.yaml of one role: the common part without what the role does not need, then the role's own part over it.
Receivers and consoles keep the names of the tenants; the credential's key is wanted, its secret is a placeholder.
*/}}
{{- define "oust.config" -}}
{{- $own := index .root.Values .role -}}
{{- $all := mustMergeOverwrite (deepCopy .root.Values.config) (deepCopy (default dict $own.config)) -}}
{{- $without := list "listen" -}}
{{- if eq .role "receiver" -}}{{- $without = list "listen" "store" "approvals" "playbooks" -}}
{{- else if eq .role "console" -}}{{- $without = list "listen" "queue" "spool" "sources" "playbooks" -}}
{{- else -}}{{- $without = list "listen" "spool" "playbooks" -}}{{- end -}}
{{- range $without -}}{{- $_ := unset $all . -}}{{- end -}}
{{- if or (eq .role "receiver") (eq .role "console") -}}
{{- $tenants := list -}}
{{- range $all.tenants -}}
{{- $credential := dict "client_id" .credential.client_id "client_secret" (dict "env" "OUST_NO_CREDENTIAL") -}}
{{- $tenants = append $tenants (set (omit . "credential" "recover_credential" "poll") "credential" $credential) -}}
{{- end -}}
{{- $_ := set $all "tenants" $tenants -}}
{{- end -}}
{{- $_ := set $all "listen" "0.0.0.0:8080" -}}
{{- if and (ne .role "receiver") .root.Values.playbooks -}}{{- $_ := set $all "playbooks" "/etc/oust-playbooks" -}}{{- end -}}
{{ toYaml $all }}
{{- end }}

{{/* Mount name → values key, as JSON: what a role may see, and nothing else. */}}
{{- define "oust.secrets" -}}
{{- if eq .role "receiver" -}}{"sources":"sources","broker":"brokerReceiver","ca":"ca"}
{{- else if eq .role "console" -}}{"database":"database","ca":"ca"}
{{- else -}}{"graph":"graph","sources":"sources","broker":"brokerWorker","database":"database","ca":"ca"}{{- end -}}
{{- end }}

{{/* The pod of a role: .root, .role (values key), .args, .probes. */}}
{{- define "oust.pod" -}}
{{- $own := index .root.Values .role -}}
{{- $secrets := include "oust.secrets" . | fromJson -}}
metadata:
  labels:
    {{- include "oust.labels" . | nindent 4 }}
  annotations:
    checksum/config: {{ include "oust.config" . | sha256sum }}
    {{- with $own.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- if .hook }}
  # Before an installation the chart's own service account is not there yet; no token is mounted either way.
  restartPolicy: Never
  {{- else }}
  serviceAccountName: {{ include "oust.fullname" .root }}
  terminationGracePeriodSeconds: 30   # 10 s for deliveries under way, 10 s for calls in flight
  {{- end }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with .root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: { type: RuntimeDefault }
  {{- if not .hook }}
  topologySpreadConstraints:
    {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "oust.selector" $ | nindent 10 }}
    {{- end }}
  {{- end }}
  containers:
    - name: oust
      image: {{ include "oust.image" . }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      args: {{ toJson .args }}
      env:
        - { name: OUST_CONFIG, value: /etc/oust/oust.yaml }
        - { name: OUST_LISTEN, value: "0.0.0.0:8080" }
        {{- if or (eq .role "receiver") (eq .role "console") }}
        - { name: OUST_NO_CREDENTIAL, value: this role has none }
        {{- end }}
        {{- with $own.env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- if not .hook }}
      ports:
        - { name: http, containerPort: 8080 }
      startupProbe:
        httpGet: { path: /healthz, port: http }
        periodSeconds: 2
        failureThreshold: 60
      livenessProbe:
        httpGet: { path: /healthz, port: http }
        periodSeconds: 10
        timeoutSeconds: 3
        failureThreshold: 3
      readinessProbe:
        httpGet: { path: /readyz, port: http }
        periodSeconds: 2
        timeoutSeconds: 2
        failureThreshold: 2
      {{- end }}
      resources:
        {{- toYaml $own.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        privileged: false
        capabilities: { drop: [ALL] }
      volumeMounts:
        - { name: config, mountPath: /etc/oust, readOnly: true }
        {{- if and (ne .role "receiver") .root.Values.playbooks }}
        - { name: playbooks, mountPath: /etc/oust-playbooks, readOnly: true }
        {{- end }}
        - { name: state, mountPath: /var/lib/oust }
        {{- range $mount, $key := $secrets }}
        {{- if (index $.root.Values.secrets $key).existingSecret }}
        - { name: {{ $mount }}, mountPath: /run/secrets/oust/{{ $mount }}, readOnly: true }
        {{- end }}
        {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "oust.fullname" .root }}-{{ .role }}
    {{- if and (ne .role "receiver") .root.Values.playbooks }}
    - name: playbooks
      configMap:
        name: {{ include "oust.fullname" .root }}-playbooks{{ if .hook }}-hook{{ end }}
    {{- end }}
    {{- if not .volume }}
    - name: state
      emptyDir: { sizeLimit: {{ if eq .role "receiver" }}{{ $own.persistence.size }}{{ else }}16Mi{{ end }} }
    {{- end }}
    {{- range $mount, $key := $secrets }}
    {{- with (index $.root.Values.secrets $key).existingSecret }}
    - name: {{ $mount }}
      secret: { secretName: {{ . }}, defaultMode: 0440 }
    {{- end }}
    {{- end }}
  {{- with $own.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $own.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "oust.autoscaler" -}}
{{- $own := index .root.Values .role -}}
{{- if $own.autoscaling.enabled }}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ include "oust.fullname" .root }}-{{ .role }}
  labels:
    {{- include "oust.labels" . | nindent 4 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: {{ .kind }}
    name: {{ include "oust.fullname" .root }}-{{ .role }}
  minReplicas: {{ $own.autoscaling.minReplicas }}
  maxReplicas: {{ $own.autoscaling.maxReplicas }}
  behavior:
    scaleDown: { stabilizationWindowSeconds: 600 }
  metrics:
    - type: Resource
      resource:
        name: cpu
        target: { type: Utilization, averageUtilization: {{ $own.autoscaling.targetCPU }} }
{{- end }}
{{- if $own.podDisruptionBudget.enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "oust.fullname" .root }}-{{ .role }}
  labels:
    {{- include "oust.labels" . | nindent 4 }}
spec:
  maxUnavailable: {{ $own.podDisruptionBudget.maxUnavailable }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "oust.selector" . | nindent 6 }}
{{- end }}
{{- end }}

{{- define "oust.service" -}}
{{- $own := index .root.Values .role -}}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ include "oust.fullname" .root }}-{{ .role }}
  labels:
    {{- include "oust.labels" . | nindent 4 }}
  {{- with $own.service.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ $own.service.type }}
  selector:
    {{- include "oust.selector" . | nindent 4 }}
  ports:
    - { name: http, port: {{ $own.service.port }}, targetPort: http }
{{- if $own.ingress.enabled }}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ include "oust.fullname" .root }}-{{ .role }}
  labels:
    {{- include "oust.labels" . | nindent 4 }}
  {{- with $own.ingress.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with $own.ingress.className }}
  ingressClassName: {{ . }}
  {{- end }}
  tls:
    - hosts: [{{ $own.ingress.host | quote }}]
      secretName: {{ $own.ingress.tlsSecret }}
  rules:
    - host: {{ $own.ingress.host | quote }}
      http:
        paths:
          # Senders need /webhooks/, reviewers and programs these; health and metrics stay inside.
          {{- $paths := list (list "/webhooks/" "Prefix") }}
          {{- if eq .role "console" }}{{ $paths = list (list "/console" "Prefix") (list "/api/" "Prefix") (list "/" "Exact") }}{{ end }}
          {{- range $paths }}
          - path: {{ index . 0 }}
            pathType: {{ index . 1 }}
            backend:
              service:
                name: {{ include "oust.fullname" $.root }}-{{ $.role }}
                port: { name: http }
          {{- end }}
{{- end }}
{{- end }}
