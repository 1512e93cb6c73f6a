// Package wardset is the contract between Wardset and a policy.
package wardset

import (
	"encoding/json"
	"fmt"
	"strings"

	"policy/internal/wardset/wardset_policy_document"
	"policy/internal/wardset/wardset_policy_types"
)

// The types of the contract.
type (
	Manifest = wardset_policy_types.Manifest
	Request  = wardset_policy_types.Request
	Verdict  = wardset_policy_types.Verdict
	Denial   = wardset_policy_types.Denial
	Warning  = wardset_policy_types.Warning
	Change   = wardset_policy_types.Change
	Note     = wardset_policy_types.Note
)

// The words of the contract.
const (
	Create    = wardset_policy_types.OperationCreate
	Update    = wardset_policy_types.OperationUpdate
	Open      = wardset_policy_types.TemplateGateOpen
	Closed    = wardset_policy_types.TemplateGateClosed
	Forbidden = wardset_policy_types.DenialCodeForbidden
	Invalid   = wardset_policy_types.DenialCodeInvalid
)

// Object reads the value of the object at a JSON Pointer that the manifest's Reads cover. It returns false if the value
// is missing or null.
func Object(pointer string, value any) (bool, error) {
	text := wardset_policy_document.Object(pointer)
	if text.IsNone() || text.Some() == "null" {
		return false, nil
	}
	if err := json.Unmarshal([]byte(text.Some()), value); err != nil {
		return false, fmt.Errorf("failed to read `%s`: %w", pointer, err)
	}
	return true, nil
}

// Add returns a change that puts a value at a JSON Pointer.
func Add(path string, value any, reason string) (Change, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return Change{}, fmt.Errorf("failed to write the value of `%s`: %w", path, err)
	}
	placed := wardset_policy_types.Placed{Path: path, Value: string(text)}
	return Change{Edit: wardset_policy_types.MakeEditAdd(placed), Reason: reason}, nil
}

// Join returns the pointer to a member of an object.
func Join(parent, key string) string {
	return parent + "/" + strings.ReplaceAll(strings.ReplaceAll(key, "~", "~0"), "/", "~1")
}
