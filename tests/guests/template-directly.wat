;; Changes the template; the gate drops the change if it is closed.
;;@ writes /spec/template
(data (i32.const 0x1000) "/spec/template/metadata/labels/x")
(data (i32.const 0x1100) "\"y\"")
(func $hostile (result i32) (call $add (i32.const 0x1000) (i32.const 0x1100)) (call $changed))
