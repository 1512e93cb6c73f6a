;; Makes the template's label that the selector requires a number.
;;@ writes /spec/template
(data (i32.const 0x1000) "/spec/template/metadata/labels/app")
(data (i32.const 0x1100) "5")
(func $hostile (result i32) (call $replace (i32.const 0x1000) (i32.const 0x1100)) (call $changed))
