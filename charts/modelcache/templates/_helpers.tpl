{{- define "modelcache.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 53 | trimSuffix "-" }}
{{- end }}

{{- define "modelcache.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "modelcache.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "modelcache.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "modelcache.selector" -}}
app.kubernetes.io/name: {{ include "modelcache.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "modelcache.labels" -}}
{{ include "modelcache.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "modelcache.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{- define "modelcache.account" -}}
{{- if .Values.serviceAccount.create }}
{{- .Values.serviceAccount.name | default (include "modelcache.fullname" .) }}
{{- else }}
{{- required "serviceAccount.name is needed where serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* Whether the API server can give models to pods by label. */}}
{{- define "modelcache.byLabel" -}}
{{- $there := .Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy" }}
{{- if and (eq .Values.pods.byLabel "on") (not $there) }}
{{- fail "pods.byLabel is on, but this API server has no MutatingAdmissionPolicy in admissionregistration.k8s.io/v1: it needs Kubernetes 1.36. Set it to off, and mount by hand (modelcache mount NAME)." }}
{{- end }}
{{- if and (ne .Values.pods.byLabel "off") $there }}yes{{ end }}
{{- end }}

{{/* Which namespaces a policy is bound to. */}}
{{- define "modelcache.matchResources" -}}
{{- with .Values.namespaces }}
matchResources:
  namespaceSelector:
    matchExpressions:
      - {key: kubernetes.io/metadata.name, operator: In, values: {{ toJson . }}}
{{- end }}
{{- end }}
