;; Declares that it writes `/status`, which no policy may.
;;@ writes /metadata/labels /status
