;; Writes the selector although its manifest covers only metadata.
;;@ writes /metadata
(data (i32.const 0x1000) "/spec/selector/matchLabels/app")
(data (i32.const 0x1100) "\"other\"")
(func $hostile (result i32) (call $replace (i32.const 0x1000) (i32.const 0x1100)) (call $changed))
