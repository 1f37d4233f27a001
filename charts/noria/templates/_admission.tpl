{{/* Rights on names: one check costs a third of what an expression may, so each name has an expression of its own. */}}
{{- define "noria.mostNames" -}}12{{- end -}}

{{/* Variables after `<list>0`, a list of names: in `<list>1` the first name is left out wherever it stands, and so on. */}}
{{- define "noria.distinct" }}
{{- range $n := until (include "noria.mostNames" . | int) }}
- name: {{ $.list }}{{ add1 $n }}
  expression: variables.{{ $.list }}{{ $n }}.filter(name, name != variables.{{ $.list }}{{ $n }}[0])
{{- end }}
{{- end -}}

{{/* The requester has the right on each of these names; `refusal` is a CEL string before the name. */}}
{{- define "noria.held" }}
{{- range $n := until (include "noria.mostNames" . | int) }}
- expression: >-
    variables.{{ $.list }}{{ $n }}.size() == 0 ||
    authorizer.group('{{ $.group }}').resource('{{ $.resource }}').namespace(object.metadata.namespace).name(variables.{{ $.list }}{{ $n }}[0]).check('{{ $.verb }}').allowed()
  messageExpression: >-
    'user ' + request.userInfo.username + ' {{ $.refusal }}: ' + variables.{{ $.list }}{{ $n }}[0]
  reason: Forbidden
{{- end }}
{{- $most := include "noria.mostNames" . }}
- expression: variables.{{ $.list }}{{ $most }}.size() == 0
  message: it names more than {{ $most }} different {{ $.resource }}; name fewer, or make several objects of it
  reason: Forbidden
{{- end -}}
