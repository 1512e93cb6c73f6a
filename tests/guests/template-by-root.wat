;; Replaces the whole document with a document without a template.
;;@ writes ""
(data (i32.const 0x1000) "")
(data (i32.const 0x1100) "{\"apiVersion\":\"apps/v1\",\"kind\":\"DaemonSet\"}")
(func $hostile (result i32) (call $replace (i32.const 0x1000) (i32.const 0x1100)) (call $changed))
