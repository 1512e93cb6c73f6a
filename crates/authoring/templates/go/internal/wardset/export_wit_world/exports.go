// Package export_wit_world passes the exports of the module to package policy.
package export_wit_world

import (
	"policy"
	"policy/internal/wardset/wardset_policy_types"

	witTypes "go.bytecodealliance.org/pkg/wit/types"
)

func Manifest() wardset_policy_types.Manifest { return policy.Manifest() }

func ValidateSettings(settings string) witTypes.Result[witTypes.Unit, string] {
	if err := policy.ValidateSettings(settings); err != nil {
		return witTypes.Err[witTypes.Unit, string](err.Error())
	}
	return witTypes.Ok[witTypes.Unit, string](witTypes.Unit{})
}

func Evaluate(request wardset_policy_types.Request, settings string) witTypes.Result[wardset_policy_types.Verdict, string] {
	verdict, err := policy.Evaluate(request, settings)
	if err != nil {
		return witTypes.Err[wardset_policy_types.Verdict, string](err.Error())
	}
	return witTypes.Ok[wardset_policy_types.Verdict, string](verdict)
}
