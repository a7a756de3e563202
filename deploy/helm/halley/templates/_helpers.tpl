{{- define "halley.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that never change. Takes a dict of root and role. */}}
{{- define "halley.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end -}}

{{- define "halley.labels" -}}
{{ include "halley.selector" . }}
app.kubernetes.io/version: {{ .root.Values.image.tag | default .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{/* Name of the Secret with the nodes' secret; empty without one. */}}
{{- define "halley.trustSecret" -}}
{{- if .Values.trust.createSecret -}}
{{ include "halley.name" . }}-trust
{{- else -}}
{{ .Values.trust.secret }}
{{- end -}}
{{- end -}}

{{/* The template of a pod. Takes a dict of root and role. */}}
{{- define "halley.pod" -}}
{{- $values := index .root.Values .role -}}
{{- $trust := .root.Values.trust -}}
{{- $trustSecret := include "halley.trustSecret" .root -}}
metadata:
  labels:
    {{- include "halley.selector" . | nindent 4 }}
  annotations:
    # A changed configuration restarts the pods.
    halley/config: {{ .root.Values.config | sha256sum }}
    prometheus.io/scrape: "true"
    prometheus.io/port: "3100"
    {{- with $values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  automountServiceAccountToken: false
  # Kubernetes would add variables such as HALLEY_COMET_SERVICE_HOST, which are no keys.
  enableServiceLinks: false
  {{- with .root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  terminationGracePeriodSeconds: {{ div (mul .root.Values.drainSeconds 5) 4 }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    seccompProfile:
      type: RuntimeDefault
  containers:
    - name: halley
      image: "{{ .root.Values.image.repository }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}"
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      args: [{{ .role }}]
      env:
        - name: HALLEY_CONFIG
          value: /etc/halley/config/halley.toml
        - name: HALLEY_ADMIN__BIND
          value: "0.0.0.0:3100"
        - name: HALLEY_DRAIN__DEADLINE
          value: "{{ .root.Values.drainSeconds }}s"
        - name: POD_IP
          valueFrom:
            fieldRef:
              fieldPath: status.podIP
        {{- if $trustSecret }}
        - name: HALLEY_TRUST__SECRET_FILE
          value: /etc/halley/trust-secret/secret
        {{- end }}
        {{- if $trust.certificates }}
        - name: HALLEY_TRUST__CERT_FILE
          value: /etc/halley/trust-certificates/tls.crt
        - name: HALLEY_TRUST__KEY_FILE
          value: /etc/halley/trust-certificates/tls.key
        - name: HALLEY_TRUST__CA_FILE
          value: /etc/halley/trust-certificates/ca.crt
        - name: HALLEY_TRUST__SERVER_NAME
          value: {{ $trust.serverName | quote }}
        {{- end }}
        {{- if $trust.allowPlaintext }}
        - name: HALLEY_TRUST__ALLOW_PLAINTEXT
          value: "true"
        {{- end }}
        {{- if eq .role "comet" }}
        {{- include "halley.cometEnv" .root | nindent 8 }}
        {{- else if eq .role "logic" }}
        {{- include "halley.logicEnv" .root | nindent 8 }}
        {{- end }}
        {{- with .root.Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with .root.Values.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - { name: admin, containerPort: 3100 }
        {{- if eq .role "comet" }}
        - { name: tcp, containerPort: 3101 }
        - { name: websocket, containerPort: 3102 }
        {{- if $values.tlsSecret }}
        - { name: websocket-tls, containerPort: 3103 }
        - { name: tcp-tls, containerPort: 3104 }
        {{- end }}
        - { name: grpc, containerPort: 3109 }
        {{- else if eq .role "logic" }}
        - { name: http, containerPort: 3111 }
        - { name: grpc, containerPort: 3119 }
        {{- end }}
      startupProbe:
        httpGet: { path: /healthz, port: admin }
        periodSeconds: 1
        failureThreshold: 60
      livenessProbe:
        httpGet: { path: /healthz, port: admin }
        periodSeconds: 10
        timeoutSeconds: 5
      readinessProbe:
        httpGet: { path: /readyz, port: admin }
        periodSeconds: 2
        failureThreshold: 2
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
      volumeMounts:
        - { name: config, mountPath: /etc/halley/config, readOnly: true }
        {{- if $trustSecret }}
        - { name: trust-secret, mountPath: /etc/halley/trust-secret, readOnly: true }
        {{- end }}
        {{- if $trust.certificates }}
        - { name: trust-certificates, mountPath: /etc/halley/trust-certificates, readOnly: true }
        {{- end }}
        {{- if and (eq .role "comet") $values.tlsSecret }}
        - { name: client-tls, mountPath: /etc/halley/client-tls, readOnly: true }
        {{- end }}
        {{- with $values.volumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "halley.name" .root }}
    {{- if $trustSecret }}
    - name: trust-secret
      secret:
        secretName: {{ $trustSecret | quote }}
    {{- end }}
    {{- if $trust.certificates }}
    - name: trust-certificates
      secret:
        secretName: {{ $trust.certificates | quote }}
    {{- end }}
    {{- if and (eq .role "comet") $values.tlsSecret }}
    - name: client-tls
      secret:
        secretName: {{ $values.tlsSecret | quote }}
    {{- end }}
    {{- with $values.volumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "halley.selector" . | nindent 10 }}
{{- end -}}

{{- define "halley.cometEnv" -}}
- name: HALLEY_COMET__TCP__BIND
  value: "0.0.0.0:3101"
- name: HALLEY_COMET__WEBSOCKET__BIND
  value: "0.0.0.0:3102"
{{- if .Values.comet.tlsSecret }}
- name: HALLEY_COMET__TLS__CERT_FILES
  value: /etc/halley/client-tls/tls.crt
- name: HALLEY_COMET__TLS__KEY_FILES
  value: /etc/halley/client-tls/tls.key
- name: HALLEY_COMET__TLS__WEBSOCKET_BIND
  value: "0.0.0.0:3103"
- name: HALLEY_COMET__TLS__TCP_BIND
  value: "0.0.0.0:3104"
{{- end }}
- name: HALLEY_COMET__RPC__BIND
  value: "0.0.0.0:3109"
- name: HALLEY_COMET__RPC__ADVERTISE
  value: "$(POD_IP):3109"
- name: HALLEY_COMET__ADDRS
  value: {{ join "," .Values.comet.addrs | default "$(POD_IP)" | quote }}
{{- end -}}

{{- define "halley.logicEnv" -}}
- name: HALLEY_LOGIC__HTTP__BIND
  value: "0.0.0.0:3111"
- name: HALLEY_LOGIC__RPC__BIND
  value: "0.0.0.0:3119"
- name: HALLEY_LOGIC__RPC__ADVERTISE
  value: "$(POD_IP):3119"
- name: HALLEY_LOGIC__AUTH__MODE
  value: {{ .Values.auth.mode | quote }}
{{- if eq .Values.auth.mode "insecure" }}
- name: HALLEY_LOGIC__AUTH__INSECURE__ALLOW_PUBLIC
  value: "true"
{{- end }}
{{- end -}}
