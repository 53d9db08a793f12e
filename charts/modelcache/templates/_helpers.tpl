{{- define "modelcache.name" -}}
{{- .Values.nameOverride | default .Chart.Name }}
{{- end }}

{{/* A name that is valid for all kinds: a Service's begins with a letter and has no dot, and with the longest suffix there are 63 characters.
One that had to be changed gets a hash of what it was, so that no two become the same. */}}
{{- define "modelcache.fullname" -}}
{{- $name := include "modelcache.name" . }}
{{- $long := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) }}
{{- $full := .Values.fullnameOverride | default $long }}
{{- if regexMatch "^[a-z][-a-z0-9]{0,46}$" $full }}
{{- $full }}
{{- else }}
{{- $letter := regexMatch "^[a-z]" $full | ternary "" "r" }}
{{- printf "%s%s" $letter $full | replace "." "-" | trunc 38 | trimSuffix "-" }}-{{ sha256sum $full | trunc 8 }}
{{- end }}
{{- end }}

{{/* Merges several maps. For duplicate keys, the first wins. */}}
{{- define "modelcache.merged" -}}
{{- $merged := dict }}
{{- range . }}
{{- $merged = merge $merged (. | default dict) }}
{{- end }}
{{- toYaml $merged }}
{{- end }}

{{/* A version as the value of a label, which may not contain a plus sign: Flux appends the digest of a chart after one. */}}
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
{{- required "serviceAccount.name is required if serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* Whether models for pods by label are installed. Rendering without a cluster knows the version but not the API. */}}
{{- define "modelcache.byLabel" -}}
{{- $there := or (semverCompare ">=1.36.0-0" .Capabilities.KubeVersion.Version)
  (.Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy") }}
{{- if and (eq .Values.pods.byLabel "always") (not $there) }}
{{- fail "pods.byLabel is always, but this API server has no MutatingAdmissionPolicy in admissionregistration.k8s.io/v1: it needs Kubernetes 1.36. Set it to never, and mount by hand (modelcache mount NAME)." }}
{{- end }}
{{- if and (ne .Values.pods.byLabel "never") $there }}yes{{ end }}
{{- end }}

{{/* Rights of the operator, for the whole cluster or for each watched namespace. Arguments: the chart, a name, and the rules. */}}
{{- define "modelcache.grant" -}}
{{- $chart := index . 0 }}
{{- $name := index . 1 }}
{{- $rules := index . 2 }}
{{- $role := empty $chart.Values.namespaces | ternary "ClusterRole" "Role" }}
{{- range $chart.Values.namespaces | default (list "") }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $role }}
metadata:
  name: {{ $name }}
  {{- with . }}
  namespace: {{ . | quote }}
  {{- end }}
  labels:
    {{- include "modelcache.labels" $chart | nindent 4 }}
rules:
  {{- $rules | trim | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $role }}Binding
metadata:
  name: {{ $name }}
  {{- with . }}
  namespace: {{ . | quote }}
  {{- end }}
  labels:
    {{- include "modelcache.labels" $chart | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ $role }}
  name: {{ $name }}
subjects:
  - kind: ServiceAccount
    name: {{ include "modelcache.account" $chart | quote }}
    namespace: {{ $chart.Release.Namespace | quote }}
{{- end }}
{{- end }}

{{/* The namespaces that a policy is bound to. */}}
{{- define "modelcache.matchResources" -}}
{{- with .Values.namespaces }}
matchResources:
  namespaceSelector:
    matchExpressions:
      - {key: kubernetes.io/metadata.name, operator: In, values: {{ toJson . }}}
{{- end }}
{{- end }}

{{/*
CEL on `params`, a ModelCache, and `object`, a pod: whether the model is there as far as the pod needs it. The controller's
`may_start` says the same.
*/}}
{{- define "modelcache.loadable" -}}
has(params.status) && ((has(params.status.conditions) && params.status.conditions.exists(it, it.type == 'Available'
    && it.status == 'True') && object.metadata.?annotations[?'modelcache.internal/wait-for'].orValue('') != 'Ready')
  || (has(params.status.conditions) && params.status.conditions.exists(it, it.type == 'Ready'
    && it.status == 'True' && it.observedGeneration == params.metadata.generation))
  || (params.status.?snapshots.orValue([]).size() > 0 && params.status.snapshots[0].kept == 'Current'
    && params.status.snapshots[0].?revision.orValue('') == params.spec.source.revision
    && has(params.status.currentPatterns) && (params.status.currentPatterns.?include.orValue([]).size() == 0
      || (params.spec.source.?include.orValue([]).size() > 0
        && params.spec.source.include.all(it, it in params.status.currentPatterns.include)))
    && params.status.currentPatterns.?exclude.orValue([]).all(it, it in params.spec.source.?exclude.orValue([]))))
{{- end }}

{{/* CEL for the path of a mount, by the name of its variable. The path may have a trailing slash, or no leading one. */}}
{{- define "modelcache.mountedAt" -}}
('/' + {{ . }}.mountPath.split('/').filter(part, !(part in ['', '.'])).join('/'))
{{- end }}
