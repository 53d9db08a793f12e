{{- define "modelcache.name" -}}
{{- .Values.nameOverride | default .Chart.Name }}
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

{{/* Several maps as one. The first that has a key wins. */}}
{{- define "modelcache.merged" -}}
{{- $merged := dict }}
{{- range . }}
{{- $merged = merge $merged (. | default dict) }}
{{- end }}
{{- toYaml $merged }}
{{- end }}

{{/* A version as the value of a label, which may hold no plus sign: Flux adds the digest of a chart behind one. */}}
{{- define "modelcache.labelValue" -}}
{{- . | replace "+" "_" | trunc 63 | trimAll "-_." }}
{{- end }}

{{- define "modelcache.selector" -}}
{{- dict "app.kubernetes.io/name" (include "modelcache.name" .) "app.kubernetes.io/instance" .Release.Name | toYaml }}
{{- end }}

{{- define "modelcache.labels" -}}
{{- $selector := include "modelcache.selector" . | fromYaml }}
{{- $release := dict
  "app.kubernetes.io/version" (include "modelcache.labelValue" .Chart.AppVersion)
  "app.kubernetes.io/managed-by" .Release.Service
  "helm.sh/chart" (include "modelcache.labelValue" (printf "%s-%s" .Chart.Name .Chart.Version)) }}
{{- include "modelcache.merged" (list $selector $release .Values.commonLabels) }}
{{- end }}

{{- define "modelcache.image" -}}
{{- $own := .Chart.AppVersion | replace "+" "_" }}
{{- with .Values.image }}
{{- $tag := .tag | default (empty .digest | ternary $own "") }}
{{- .repository }}{{ with $tag }}:{{ . }}{{ end }}{{ with .digest }}@{{ . }}{{ end }}
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
