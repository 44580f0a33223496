{{/* The flags of the controller, one a line. */}}
{{- define "node-ipam-controller.flags" -}}
{{- $election := .Values.leaderElection -}}
{{- $default := .Values.defaultClusterCIDR -}}
- --webserver-bind-address=:{{ .Values.service.port | int }}
{{- if $election.enabled }}
{{- range $flag, $value := dict
  "lease-duration" $election.leaseDuration
  "renew-deadline" $election.renewDeadline
  "retry-period" $election.retryPeriod
  "resource-lock" $election.resourceLock
  "resource-name" $election.resourceName }}
{{- with $value }}
- --leader-elect-{{ $flag }}={{ . }}
{{- end }}
{{- end }}
{{- else }}
- --enable-leader-election=false
{{- end }}
{{- with $default.ranges }}
- --cluster-cidr={{ join "," . }}
{{- end }}
{{- range $flag, $value := dict
  "node-cidr-mask-size" $default.nodeMaskSize
  "node-cidr-mask-size-ipv4" $default.nodeMaskSizeIPv4
  "node-cidr-mask-size-ipv6" $default.nodeMaskSizeIPv6 }}
{{- with $value }}
- --{{ $flag }}={{ . | int }}
{{- end }}
{{- end }}
{{- with .Values.serviceRanges }}
- --service-cluster-ip-range={{ join "," . }}
{{- end }}
{{- with .Values.concurrentNodeSyncs }}
- --concurrent-node-syncs={{ . | int }}
{{- end }}
- --log-level={{ .Values.log.level }}
- --log-format={{ .Values.log.format }}
{{- range .Values.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end }}
