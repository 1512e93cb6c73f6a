;; Adds to the selector; its `writes` name only the parent.
;;@ writes /spec
(data (i32.const 0x1000) "/spec/selector/matchLabels/tier")
(data (i32.const 0x1100) "\"x\"")
(func $hostile (result i32) (call $add (i32.const 0x1000) (i32.const 0x1100)) (call $changed))
