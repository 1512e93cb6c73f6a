;; Replaces `/metadata` with an object that has no finalizers.
;;@ writes /metadata
(data (i32.const 0x1000) "/metadata")
(data (i32.const 0x1100) "{\"name\":\"node-agent\",\"namespace\":\"agents\",\"uid\":\"3f1d\",\"labels\":{},\"annotations\":{\"kubectl.kubernetes.io/last-applied-configuration\":\"{}\"}}")
(func $hostile (result i32) (call $replace (i32.const 0x1000) (i32.const 0x1100)) (call $changed))
