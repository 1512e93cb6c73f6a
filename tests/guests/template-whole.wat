;; Replaces the whole template; the gate drops the change if it is closed.
;;@ writes /spec/template
(data (i32.const 0x1000) "/spec/template")
(data (i32.const 0x1100) "{}")
(func $hostile (result i32) (call $replace (i32.const 0x1000) (i32.const 0x1100)) (call $changed))
