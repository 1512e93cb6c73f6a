;; Replaces `/spec` with an object that has another selector.
;;@ writes /spec
(data (i32.const 0x1000) "/spec")
(data (i32.const 0x1100) "{\"selector\":{\"matchLabels\":{\"app\":\"other\"}},\"template\":{\"metadata\":{\"labels\":{\"app\":\"node-agent\"}},\"spec\":{\"containers\":[{\"name\":\"agent\",\"image\":\"agent:1\"}],\"tolerations\":[{\"operator\":\"Exists\"}]}}}")
(func $hostile (result i32) (call $replace (i32.const 0x1000) (i32.const 0x1100)) (call $changed))
