{{- define "node-ipam-controller.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{/* The release's name where it says what this is already, as in the documented `helm install node-ipam-controller`. */}}
{{- define "node-ipam-controller.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- define "node-ipam-controller.serviceAccountName" -}}
{{- default (include "node-ipam-controller.fullname" .) .Values.serviceAccount.name -}}
{{- end }}

{{/* What a Deployment can't change: the same as in the chart that this one takes over from. */}}
{{- define "node-ipam-controller.selectorLabels" -}}
app.kubernetes.io/name: {{ include "node-ipam-controller.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "node-ipam-controller.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "node-ipam-controller.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "node-ipam-controller.image" -}}
{{- $tag := .Values.image.tag | default .Chart.AppVersion -}}
{{- $suffix := ternary (printf "@%s" .Values.image.digest) (printf ":%s" $tag) (ne .Values.image.digest "") -}}
{{- printf "%s%s" .Values.image.repository $suffix -}}
{{- end }}
