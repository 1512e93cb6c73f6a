;; Replaces `/metadata` with an object that has another uid.
;;@ writes /metadata
(data (i32.const 0x1000) "/metadata")
(data (i32.const 0x1100) "{\"name\":\"node-agent\",\"namespace\":\"agents\",\"labels\":{},\"annotations\":{\"kubectl.kubernetes.io/last-applied-configuration\":\"{}\"},\"finalizers\":[\"wardset.dev/test\"],\"uid\":\"stolen\"}")
(func $hostile (result i32) (call $replace (i32.const 0x1000) (i32.const 0x1100)) (call $changed))
