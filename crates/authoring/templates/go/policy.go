{{#mutating}}
// Package policy adds the label `team`, keeps pods off the control plane, and denies the label `version` in a new selector.
{{/mutating}}
{{#validating}}
// Package policy requires the label `team`, and denies the label `version` in a new selector.
{{/validating}}
package policy

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"

	"policy/internal/wardset"
)

const (
	selector = "/spec/selector/matchLabels"
	labels   = "/metadata/labels"
{{#mutating}}
	affinity = "/spec/template/spec/affinity"
	required = "requiredDuringSchedulingIgnoredDuringExecution"
{{/mutating}}
)

{{#mutating}}
// The nodes outside the control plane.
var workers = json.RawMessage(`{"nodeSelectorTerms":[{"matchExpressions":[` +
	`{"key":"node-role.kubernetes.io/control-plane","operator":"DoesNotExist"}]}]}`)

{{/mutating}}
//go:embed settings.schema.json
var settingsSchema string

// The settings of the policy.
type settings struct {
	// The team of objects whose authors name none.
	Team string `json:"team"`
}

// Manifest returns the module's description of itself.
func Manifest() wardset.Manifest {
	return wardset.Manifest{
		Name:           "{{name}}",
		Version:        "0.1.0",
{{#mutating}}
		Description:    "Adds a team, keeps pods off the control plane, and denies `version` in selectors",
		Reads:          []string{selector, labels, affinity},
		Writes:         []string{labels, affinity},
{{/mutating}}
{{#validating}}
		Description:    "Requires a team, and denies `version` in selectors",
		Reads:          []string{selector, labels},
{{/validating}}
		SettingsSchema: settingsSchema,
	}
}

// ValidateSettings returns an error if the settings are wrong.
func ValidateSettings(text string) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &fields); err != nil {
		return err
	}
	for key := range fields {
		if key != "team" {
			return fmt.Errorf("`%s`: expected only `team`, found another setting; to fix it: remove `%s`", key, key)
		}
	}
	team, exists := fields["team"]
	if !exists {
		return errors.New("`team`: expected the name of a team, found nothing; to fix it: write `team: NAME`")
	}
	var name string
	if err := json.Unmarshal(team, &name); err != nil || name == "" {
		return fmt.Errorf("`team`: expected the name of a team, found `%s`; to fix it: write `team: NAME`", team)
	}
	return nil
}

// Evaluate decides on one review. An error means that the policy failed to decide.
func Evaluate(request wardset.Request, text string) (wardset.Verdict, error) {
	var verdict wardset.Verdict
	var settings settings
	if err := json.Unmarshal([]byte(text), &settings); err != nil {
		return verdict, err
	}

	// An update cannot repair a stored object at once: a denial would stop every update of it.
	refuse := func(pointer, message, fix string) {
		if request.Operation == wardset.Create {
			verdict.Denials = append(verdict.Denials, wardset.Denial{
				Code: wardset.Forbidden, Pointer: pointer, Message: message, Fix: fix,
			})
		} else {
			verdict.Warnings = append(verdict.Warnings, wardset.Warning{Pointer: pointer, Message: message})
		}
	}

	var selected, labelled map[string]json.RawMessage
	if _, err := wardset.Object(selector, &selected); err != nil {
		return verdict, err
	}
	if _, exists := selected["version"]; exists {
		refuse(
			wardset.Join(selector, "version"),
			"the selector has the label `version`, which changes with each release",
			"remove `version` from the selector",
		)
	}

	hasLabels, err := wardset.Object(labels, &labelled)
	if err != nil {
		return verdict, err
	}
{{#mutating}}
	add := func(path string, value any, reason string) error {
		change, err := wardset.Add(path, value, reason)
		verdict.Changes = append(verdict.Changes, change)
		return err
	}
	if _, exists := labelled["team"]; !hasLabels {
		err = add(labels, map[string]string{"team": settings.Team}, "the label `team` is missing")
	} else if !exists {
		err = add(wardset.Join(labels, "team"), settings.Team, "the label `team` is missing")
	}
	if err != nil {
		return verdict, err
	}

	// If the author does not touch the template, a change to it would restart every pod.
	if request.Template == wardset.Open {
		const why = "the object does not choose its nodes"
		var found struct {
			NodeAffinity *struct {
				Required json.RawMessage `json:"requiredDuringSchedulingIgnoredDuringExecution"`
			} `json:"nodeAffinity"`
		}
		hasAffinity, err := wardset.Object(affinity, &found)
		if err != nil {
			return verdict, err
		}
		node := map[string]any{required: workers}
		switch {
		case !hasAffinity:
			err = add(affinity, map[string]any{"nodeAffinity": node}, why)
		case found.NodeAffinity == nil:
			err = add(wardset.Join(affinity, "nodeAffinity"), node, why)
		case len(found.NodeAffinity.Required) == 0 || string(found.NodeAffinity.Required) == "null":
			err = add(affinity+"/nodeAffinity/"+required, workers, why)
		}
		if err != nil {
			return verdict, err
		}
	}

	if len(verdict.Denials) > 0 {
		verdict.Changes = nil
	}
	return verdict, nil
{{/mutating}}
{{#validating}}
	if _, exists := labelled["team"]; !hasLabels || !exists {
		fix := fmt.Sprintf("add the label `team`, such as `team: %s`, to `metadata.labels`", settings.Team)
		refuse(labels, "the label `team` is missing", fix)
	}
	return verdict, nil
{{/validating}}
}
