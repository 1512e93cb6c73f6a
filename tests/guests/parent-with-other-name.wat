;; Replaces `/metadata` with an object that has another name.
;;@ writes /metadata
(data (i32.const 0x1000) "/metadata")
(data (i32.const 0x1100) "{\"name\":\"other\",\"namespace\":\"agents\",\"uid\":\"3f1d\",\"labels\":{},\"annotations\":{\"kubectl.kubernetes.io/last-applied-configuration\":\"{}\"},\"finalizers\":[\"wardset.dev/test\"]}")
(func $hostile (result i32) (call $add (i32.const 0x1000) (i32.const 0x1100)) (call $changed))
