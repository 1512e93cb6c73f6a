;; Replaces the affinity with a number.
;;@ writes /spec/template/spec/affinity
(data (i32.const 0x1000) "/spec/template/spec/affinity")
(data (i32.const 0x1100) "7")
(func $hostile (result i32) (call $add (i32.const 0x1000) (i32.const 0x1100)) (call $changed))
