;; Is a whole component whose exports have the contract's names but other types.
(component
  (core module $main
    (func (export "manifest") (result i32) (i32.const 1))
    (func (export "validate-settings") (param i32) (result i32) (i32.const 1))
    (func (export "evaluate") (param i32) (result i32) (i32.const 1)))
  (core instance $main (instantiate $main))
  (alias core export $main "manifest" (core func $the-manifest))
  (alias core export $main "validate-settings" (core func $the-validate-settings))
  (alias core export $main "evaluate" (core func $the-evaluate))
  (func (export "manifest") (result u32) (canon lift (core func $the-manifest)))
  (func (export "validate-settings") (param "settings" u32) (result u32)
    (canon lift (core func $the-validate-settings)))
  (func (export "evaluate") (param "request" u32) (result u32) (canon lift (core func $the-evaluate))))
