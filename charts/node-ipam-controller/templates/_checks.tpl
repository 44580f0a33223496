{{/*
What the schema can't say: values that contradict each other, and texts whose form is too much for a pattern.
Each ends the rendering with a sentence that names the value.
*/}}
{{- define "node-ipam-controller.check" -}}
{{- include "node-ipam-controller.checkElection" . -}}
{{- include "node-ipam-controller.checkRanges" . -}}
{{- $api := .Values.apiServer -}}
{{- if ne (empty $api.host) (empty $api.port) -}}
{{- fail (printf "apiServer.host (%q) and apiServer.port (%q) belong together: set both, or neither" (toString $api.host) (toString $api.port)) -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled .Values.podMonitor.enabled -}}
{{- fail "serviceMonitor.enabled and podMonitor.enabled are both true: every Pod would be scraped twice; choose one" -}}
{{- end -}}
{{- if and .Values.networkPolicy.enabled .Values.hostNetwork -}}
{{- fail "networkPolicy.enabled is true, and hostNetwork too: network policies don't hold for Pods in the host's network; set one of them to false" -}}
{{- end -}}
{{- end }}

{{- define "node-ipam-controller.checkElection" -}}
{{- $election := .Values.leaderElection -}}
{{- if $election.enabled -}}
{{- $lease := include "node-ipam-controller.microseconds" (list "leaderElection.leaseDuration" ($election.leaseDuration | default "15s")) | int64 -}}
{{- $renew := include "node-ipam-controller.microseconds" (list "leaderElection.renewDeadline" ($election.renewDeadline | default "10s")) | int64 -}}
{{- $retry := include "node-ipam-controller.microseconds" (list "leaderElection.retryPeriod" ($election.retryPeriod | default "2s")) | int64 -}}
{{- if ne 0 (mod $lease 1000000) -}}
{{- fail (printf "leaderElection.leaseDuration is whole seconds, not %s" $election.leaseDuration) -}}
{{- end -}}
{{- if le $lease $renew -}}
{{- fail (printf "leaderElection.leaseDuration (%s) has to be longer than leaderElection.renewDeadline (%s)" ($election.leaseDuration | default "15s, the default") ($election.renewDeadline | default "10s, the default")) -}}
{{- end -}}
{{- if le (mul 5 $renew) (mul 6 $retry) -}}
{{- fail (printf "leaderElection.renewDeadline (%s) has to be longer than 1.2 times leaderElection.retryPeriod (%s)" ($election.renewDeadline | default "10s, the default") ($election.retryPeriod | default "2s, the default")) -}}
{{- end -}}
{{- else if gt (int .Values.replicaCount) 1 -}}
{{- fail (printf "replicaCount is %d and leaderElection.enabled is false: without leader election there must never be two controllers; enable it, or set replicaCount to 1" (int .Values.replicaCount)) -}}
{{- end -}}
{{- end }}

{{/* The microseconds of a Go duration, given as (name of the value, text). The parser of Go itself reads it. */}}
{{- define "node-ipam-controller.microseconds" -}}
{{- $name := index . 0 -}}
{{- $text := index . 1 -}}
{{- if not (regexMatch "^([0-9]+(\\.[0-9]*)?(h|m|s|ms|us|µs|ns))+$" $text) -}}
{{- fail (printf "%s is a duration such as 15s or 1m30s, not %q" $name $text) -}}
{{- end -}}
{{- $start := toDate "2006-01-02 MST" "2000-01-01 UTC" -}}
{{- $end := mustDateModify $text $start -}}
{{- $whole := sub (unixEpoch $end | int64) (unixEpoch $start | int64) -}}
{{- add (mul $whole 1000000) (date ".000000" $end | trimPrefix "." | atoi) -}}
{{- end }}

{{- define "node-ipam-controller.checkRanges" -}}
{{- $default := .Values.defaultClusterCIDR -}}
{{- $families := list -}}
{{- range $index, $text := $default.ranges -}}
{{- $families = append $families (include "node-ipam-controller.family" (list (printf "defaultClusterCIDR.ranges[%d]" $index) $text)) -}}
{{- end -}}
{{- range $index, $text := .Values.serviceRanges -}}
{{- $_ := include "node-ipam-controller.family" (list (printf "serviceRanges[%d]" $index) $text) -}}
{{- end -}}
{{- if lt (len (uniq $families)) (len $families) -}}
{{- fail (printf "defaultClusterCIDR.ranges is one range, or one of IPv4 and one of IPv6, not %s; further ranges belong into further ClusterCIDRs" (join ", " $default.ranges)) -}}
{{- end -}}
{{- range $key, $families := dict "nodeMaskSize" 1 "nodeMaskSizeIPv4" 2 "nodeMaskSizeIPv6" 2 -}}
{{- $size := get $default $key -}}
{{- if and $size (ne (len $default.ranges) $families) -}}
{{- fail (printf "defaultClusterCIDR.%s (%v) goes with %s in defaultClusterCIDR.ranges, not with %d" $key $size (ternary "one range" "a range of each family" (eq $families 1)) (len $default.ranges)) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* IPv4 or IPv6, of a range given as (name of the value, text). */}}
{{- define "node-ipam-controller.family" -}}
{{- $name := index . 0 -}}
{{- $text := index . 1 -}}
{{- $octet := "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])" -}}
{{- $group := "[0-9A-Fa-f]{1,4}" -}}
{{- $ipv4 := printf "^(%s\\.){3}%s/([12]?[0-9]|3[0-2])$" $octet $octet -}}
{{- $full := printf "(%s:){7}%s" $group $group -}}
{{- $short := printf "((%s:){0,6}%s)?::((%s:){0,6}%s)?" $group $group $group $group -}}
{{- $ipv6 := printf "^(%s|%s)/([1-9]?[0-9]|1[01][0-9]|12[0-8])$" $full $short -}}
{{- if regexMatch $ipv4 $text -}}
IPv4
{{- else if and (regexMatch $ipv6 $text) (le (len (splitList ":" $text)) 9) -}}
IPv6
{{- else -}}
{{- fail (printf "%s is a range such as 10.244.0.0/16 or 2001:db8::/64, not %q" $name $text) -}}
{{- end -}}
{{- end }}
