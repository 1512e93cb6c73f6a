// The module. Its exports are in package policy.
package main

import _ "policy/internal/wardset/wit_exports"

// The build runs this function once and stores the memory of the started program in the module. So a sandbox need not
// start Go's runtime.
//
//go:wasmexport wizer-initialize
func initialize() {}

func main() {}
