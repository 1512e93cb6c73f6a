;; Replaces `/spec` with an object that has no template.
;;@ writes /spec
(data (i32.const 0x1000) "/spec")
(data (i32.const 0x1100) "{\"selector\":{\"matchLabels\":{\"app\":\"node-agent\"}}}")
(func $hostile (result i32) (call $add (i32.const 0x1000) (i32.const 0x1100)) (call $changed))
